"""A site's folder: its keys, whom it trusts, where its rows are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fedrisk import __version__
from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.provisioning.certificates import read_certificate
from fedrisk.federation.provisioning.documents import (
    FORMAT,
    JoinBundle,
    JoinRequest,
    TrustUpdate,
    write_whole,
)
from fedrisk.federation.provisioning.folders import read_settings_file, to_toml
from fedrisk.federation.provisioning.keys import make_signing_pair, make_site_key


class SiteSettings(BaseModel):
    """``site.toml``; unknown keys are errors.

    Attributes
    ----------
    federation, site : str
        As in the join bundle.
    superlink : str
        ``HOST:PORT`` of the coordinator: the only address that the site connects to.
    coordinator_key : str
        Ed25519 public key by which the coordinator signs.
    data : str
        Path of the rows, CSV or Parquet; they are read there and stay there.
    health_port : int
        Loopback port for probes; 0 takes a free one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    federation: str
    site: str
    superlink: str
    coordinator_key: str
    data: str
    health_port: int = Field(default=0, ge=0, le=65_535)


@dataclass(frozen=True)
class SiteFolder:
    """Paths and steps of one site.

    Attributes
    ----------
    folder : Path
    settings : SiteSettings
    """

    folder: Path
    settings: SiteSettings

    @classmethod
    def create(cls, folder: Path, bundle: JoinBundle, data: Path) -> SiteFolder:
        """Make the site's own keys and settings; no private key was or will be anywhere else.

        Raises
        ------
        HomeError
            When the folder holds something already.
        FederationError
            When there are no rows at ``data``.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise HomeError(f"{folder} exists and is not empty", hint="choose another --folder")
        if not data.is_file():
            raise FederationError(f"no such file: {data}", hint="--data names this site's rows")
        folder.mkdir(parents=True, exist_ok=True)
        settings = SiteSettings(
            federation=bundle.federation,
            site=bundle.site,
            superlink=bundle.superlink,
            coordinator_key=bundle.coordinator_key,
            data=str(data.resolve()),
        )
        made = cls(folder, settings)
        write_whole(made.authorities, bundle.authorities)
        make_site_key(folder, "node")
        made.make_signing_key()
        # Written last: a folder with settings is whole.
        write_whole(folder / "site.toml", to_toml(settings.model_dump()))
        return made

    @classmethod
    def open(cls, folder: Path) -> SiteFolder:
        """Open a folder that `create` made.

        Raises
        ------
        HomeError
            When it is none, damaged, or of a newer format.
        FederationError
            When the authorities' certificates or a key are missing.
        """
        made = cls(folder, read_settings_file(folder / "site.toml", SiteSettings))
        read_certificate(made.authorities)
        if not made.key.is_file():
            raise FederationError(
                f"no key at {made.key}", hint="restore it from a copy, or join anew"
            )
        return made

    @property
    def authorities(self) -> Path:
        """Certificates that the site trusts, PEM."""
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        return self.folder / "node.key"

    @property
    def signing_public(self) -> Path:
        return self.folder / "signing.pub"

    def make_signing_key(self) -> None:
        """Make the key by which the site signs its egress log."""
        make_signing_pair(self.folder, "signing")

    def request(self, key: str = "node") -> JoinRequest:
        """The site's public keys, for the coordinator."""
        return JoinRequest(
            federation=self.settings.federation,
            site=self.settings.site,
            node_key=(self.folder / f"{key}.pub").read_text(encoding="utf-8").strip(),
            signing_key=self.signing_public.read_text(encoding="utf-8").strip(),
            version=__version__,
        ).checked()

    def trust(self, update: TrustUpdate) -> None:
        """Trust the authorities that the coordinator signed.

        Raises
        ------
        FederationError
            When the update is another federation's, or not signed by its coordinator.
        """
        if update.federation != self.settings.federation:
            raise FederationError(f"the update is for another federation: {update.federation}")
        update.check(self.settings.coordinator_key)
        write_whole(self.authorities, update.authorities)

    def next_request(self) -> JoinRequest:
        """Make the node key that comes next, beside the one in use, and the request for it."""
        make_site_key(self.folder, "next")
        return self.request("next")

    def take_next_key(self) -> bool:
        """Put the next node key in the old one's place; False when there is none."""
        following = self.folder / "next.key"
        if not following.exists():
            return False
        (self.folder / "next.pub").replace(self.folder / "node.pub")
        following.replace(self.key)
        return True
