"""A site's folder: its keys, whom it trusts, where its rows are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedrisk import __version__
from fedrisk.durable import write_whole
from fedrisk.errors import FederationError
from fedrisk.federation.provisioning.certificates import check_authorities, read_certificate
from fedrisk.federation.provisioning.documents import FORMAT, JoinBundle, JoinRequest, TrustUpdate
from fedrisk.federation.provisioning.folders import (
    begin_again,
    make_folder,
    read_settings_file,
    to_toml,
    wrong_keys,
)
from fedrisk.federation.provisioning.keys import (
    check_public_key,
    make_signing_pair,
    make_site_key,
    public_text,
)
from fedrisk.sites.policy import write_policy

#: What `SiteFolder.create` writes before the settings.
_MADE = frozenset(
    {"ca.crt", "node.key", "node.pub", "signing.key", "signing.pub", "policy.toml", "egress"}
)


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
        Path of the rows, CSV or Parquet; they are read there and stay there. Relative paths start
        at the folder.
    health_listen : str
        Address on which probes are answered; whoever asks from another machine gets no details.
    health_port : int
        Port for probes; 0 takes a free one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    federation: str
    site: str = Field(min_length=1)
    superlink: str = Field(pattern=r"^.+:[0-9]{1,5}$")
    coordinator_key: str
    data: str = Field(min_length=1)
    health_listen: str = Field(default="127.0.0.1", min_length=1)
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
    def create(
        cls, folder: Path, bundle: JoinBundle, data: Path, **others: str | int
    ) -> SiteFolder:
        """Make the site's own keys, settings, a policy with safe defaults, and the log's folder.

        No private key was or will be anywhere else.

        Parameters
        ----------
        folder : Path
        bundle : JoinBundle
        data : Path
        others : str or int
            Further settings of `SiteSettings`.

        Raises
        ------
        HomeError
            When the folder holds something already, or cannot be made.
        FederationError
            When there are no rows at ``data``, or the bundle holds no certificate or no key.
        """
        if not data.is_file():
            raise FederationError(f"no such file: {data}", hint="--data names this site's rows")
        settings = _settings(bundle, data, **others)
        authorities = check_authorities(bundle.authorities)
        make_folder(folder)
        made = cls(folder, settings)
        write_whole(made.authorities, authorities)
        make_site_key(folder, "node")
        made.make_signing_key()
        write_policy(folder / "policy.toml")
        (folder / "egress").mkdir()
        # Written last: a folder with settings is whole.
        write_whole(folder / "site.toml", to_toml(settings.model_dump()))
        return made

    @classmethod
    def made(cls, folder: Path) -> bool:
        """Whether a folder is a site's; what a killed `create` left there is removed."""
        return begin_again(folder, "site.toml", _MADE)

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
        settings = read_settings_file(folder / "site.toml", SiteSettings)
        data = str((folder / settings.data).resolve())
        made = cls(folder, settings.model_copy(update={"data": data}))
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
    def next_key(self) -> Path:
        """The key that `next_request` made, until the coordinator refuses the one in use."""
        return self.folder / "next.key"

    @property
    def former_key(self) -> Path:
        """The key that was in use before `take_next_key`."""
        return self.folder / "former.key"

    def make_signing_key(self) -> None:
        """Make the key by which the site signs its egress log."""
        make_signing_pair(self.folder, "signing")

    def request(self) -> JoinRequest:
        """The site's public keys, for the coordinator: of the next node key when there is one."""
        return JoinRequest(
            federation=self.settings.federation,
            site=self.settings.site,
            node_key=public_text(self.next_key if self.next_key.exists() else self.key),
            signing_key=public_text(self.folder / "signing.key"),
            version=__version__,
        ).checked()

    def trust(self, update: TrustUpdate) -> None:
        """Trust the authorities that the coordinator signed.

        Raises
        ------
        FederationError
            When the update is another federation's, not signed by its coordinator, or older than
            the one taken last: an authority that was given up does not come back.
        """
        if update.federation != self.settings.federation:
            raise FederationError(f"the update is for another federation: {update.federation}")
        update.check(self.settings.coordinator_key)
        kept = self.folder / "trust.json"
        if kept.exists() and _issued(update) < _issued(TrustUpdate.read(kept)):
            raise FederationError(
                f"the update of {update.issued} is older than the one taken last",
                hint="ask the coordinator for the newest one",
            )
        write_whole(self.authorities, check_authorities(update.authorities))
        update.write(kept)

    def next_request(self, *, anew: bool = False) -> JoinRequest:
        """Make the node key that comes next, beside the one in use, and the request for it.

        A next key that exists stays unless ``anew``: the coordinator may have approved it already.
        """
        if anew or not self.next_key.exists():
            make_site_key(self.folder, "next")
        return self.request()

    def take_next_key(self) -> bool:
        """After a refusal, put the next node key in the place of the one in use.

        Without a next key, one that was taken too early gives its place back to the one before,
        so that a refusal that had another cause loses neither.

        Returns
        -------
        bool
            Whether the next key was taken.
        """
        if self.next_key.exists():
            _link(self.key, self.former_key)
            self.next_key.replace(self.key)
            (self.folder / "next.pub").unlink(missing_ok=True)
            return True
        if self.former_key.exists():
            _link(self.key, self.next_key)
            self.former_key.replace(self.key)
        return False


def _link(path: Path, name: Path) -> None:
    name.unlink(missing_ok=True)
    os.link(path, name)


def _issued(update: TrustUpdate) -> datetime:
    try:
        return datetime.fromisoformat(update.issued)
    except ValueError:
        raise FederationError(f"the update names no time: {update.issued!r}") from None


def _settings(bundle: JoinBundle, data: Path, **others: Any) -> SiteSettings:
    try:
        return SiteSettings(
            federation=bundle.federation,
            site=bundle.site,
            superlink=bundle.superlink,
            coordinator_key=check_public_key(bundle.coordinator_key, "ssh-ed25519"),
            data=str(data.resolve()),
            **others,
        )
    except ValidationError as error:
        raise FederationError(f"the join bundle: {wrong_keys(error)}") from None
