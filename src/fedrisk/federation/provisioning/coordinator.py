"""The coordinator's folder of a federation."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fedrisk import __version__
from fedrisk.durable import write_whole
from fedrisk.errors import FederationError
from fedrisk.federation.provisioning.certificates import (
    cross_sign,
    make_authority,
    make_server_certificate,
    read_certificate,
)
from fedrisk.federation.provisioning.documents import FORMAT, JoinBundle, JoinRequest, TrustUpdate
from fedrisk.federation.provisioning.folders import (
    begin_again,
    hold_folder,
    make_folder,
    read_settings_file,
    to_toml,
    wrong_keys,
)
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.federation.provisioning.members import Members, MembersFile

#: What `Federation.create` writes before the sites and the settings.
_MADE = frozenset(
    f"{name}.{end}"
    for name, ends in (("ca", "key crt"), ("server", "key crt"), ("coordinator", "key pub"))
    for end in ends.split()
)
#: A name that a certificate can be for, or an address of either kind.
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:]([A-Za-z0-9.:-]{0,252})$")]


class FederationSettings(BaseModel):
    """``federation.toml``; unknown keys are errors.

    Attributes
    ----------
    id : str
        Of this federation, in every document.
    hosts : tuple of str
        Names and addresses of the coordinator; sites connect to the first one.
    listen : str
        Address to listen on.
    port : int
        The one port that sites need.
    health_listen : str
        Address on which probes are answered; whoever asks from another machine gets no details.
    health_port : int
        Port for probes; 0 takes a free one.
    home : str
        Where runs and models go, relative to the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    id: str
    hosts: tuple[Host, ...] = Field(min_length=1)
    listen: str = "0.0.0.0"  # noqa: S104 sites come from other machines; TLS and keys are required
    port: int = Field(default=9092, ge=1, le=65_535)
    health_listen: str = Field(default="127.0.0.1", min_length=1)
    health_port: int = Field(default=0, ge=0, le=65_535)
    home: str = "home"


@dataclass(frozen=True)
class Federation:
    """Paths and steps of one federation's coordinator.

    Attributes
    ----------
    folder : Path
    settings : FederationSettings
    """

    folder: Path
    settings: FederationSettings

    @classmethod
    def create(cls, folder: Path, settings: FederationSettings, now: datetime) -> Federation:
        """Make authority, server certificate, countersigning key and settings.

        Raises
        ------
        HomeError
            When the folder holds something already, or cannot be made.
        """
        make_folder(folder)
        make_authority(folder, now)
        make_server_certificate(folder, settings.hosts, now)
        make_signing_pair(folder, "coordinator")
        made = cls(folder, settings)
        Members().write(made.members.path)
        write_whole(folder / "federation.toml", to_toml(settings.model_dump()))
        return made

    @classmethod
    def made(cls, folder: Path) -> bool:
        """Whether a folder is a federation's; what a killed `create` left there is removed."""
        members = MembersFile(folder / "sites.json")
        left = _MADE if members.path.exists() and members.read().sites else _MADE | {"sites.json"}
        return begin_again(folder, "federation.toml", left)

    @classmethod
    def open(cls, folder: Path) -> Federation:
        """Open a folder that `create` made.

        Raises
        ------
        HomeError
            When it is none, damaged, or of a newer format.
        FederationError
            When a certificate, or the list of sites, is missing or damaged.
        """
        made = cls(folder, read_settings_file(folder / "federation.toml", FederationSettings))
        for name in ("ca.crt", "server.crt"):
            read_certificate(folder / name)
        made.members.read()
        return made

    @property
    def members(self) -> MembersFile:
        return MembersFile(self.folder / "sites.json")

    @property
    def home(self) -> Path:
        return (self.folder / self.settings.home).resolve()

    @property
    def loopback(self) -> Path:
        """Certificates by which the coordinator's own processes reach SuperLink."""
        return self.folder / "loopback"

    @property
    def database(self) -> Path:
        return self.folder / "superlink.db"

    @property
    def superlink(self) -> str:
        """Where sites connect, unless they come another way."""
        return _address(self.settings.hosts[0], self.settings.port)

    def reached_at(self, address: str) -> str:
        """``HOST:PORT`` by which a site comes through a load balancer or a relay.

        Parameters
        ----------
        address : str
            ``HOST:PORT`` as seen from the site; an IPv6 address stands in brackets.

        Raises
        ------
        FederationError
            When it is no such address, or the coordinator has no certificate for the host.
        """
        host, _, port = address.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        valid = port.isdecimal() and 1 <= int(port) <= 65_535
        if not bare or not valid or ((":" in bare) != host.startswith("[")):
            raise FederationError(
                f"{address!r} is not HOST:PORT", hint="such as coordinator.example.org:443"
            )
        if bare.lower() not in (each.lower() for each in self.settings.hosts):
            raise FederationError(
                f"the coordinator has no certificate for {bare}: sites would refuse it",
                hint=f"add it to `hosts` in {self.folder / 'federation.toml'}, then "
                "`fedrisk federation rotate`",
            )
        return _address(bare, int(port))

    def invite(
        self,
        site: str,
        now: datetime,
        hand_over: Callable[[JoinBundle], object] = lambda _: None,
        superlink: str | None = None,
    ) -> JoinBundle:
        """Write a site's name down and give its join bundle.

        Parameters
        ----------
        site : str
        now : datetime
        hand_over : callable
            Called with the bundle before the name is written down: an end in between, or an error,
            leaves the name free, and a bundle by which nobody gets in.
        superlink : str, optional
            Where this site connects, as `reached_at` gives it.
        """
        bundle = JoinBundle(
            federation=self.settings.id,
            site=site,
            superlink=superlink or self.superlink,
            authorities=self.authorities(),
            coordinator_key=self.public_key(),
            version=__version__,
        )
        with self.members.changing() as members:
            invited = members.read().invite(site, now)
            hand_over(bundle)
            invited.write(members.path)
        return bundle

    def check_request(self, site: str, request: JoinRequest) -> JoinRequest:
        """The request, when it is this federation's and this site's, with sound keys."""
        if request.federation != self.settings.id:
            raise FederationError(f"the request is for another federation: {request.federation}")
        if request.site != site:
            raise FederationError(f"the request is of site {request.site!r}, not {site!r}")
        return request.checked()

    def approve(self, site: str, request: JoinRequest, now: datetime) -> None:
        """Take the keys of a request whose fingerprint a person has compared."""
        checked = self.check_request(site, request)
        with self.members.changing() as members:
            members.read().approve(site, checked, now).write(members.path)

    def remove(self, site: str, now: datetime) -> None:
        """Refuse a site from now on."""
        with self.members.changing() as members:
            members.read().remove(site, now).write(members.path)

    def public_key(self) -> str:
        """The coordinator's Ed25519 public key."""
        return (self.folder / "coordinator.pub").read_text(encoding="utf-8").strip()

    def authorities(self) -> str:
        """Certificates that sites trust, PEM: during a change of authority, both."""
        parts = [self.folder / "ca.crt", self.folder / "next" / "ca.crt"]
        return "".join(part.read_text(encoding="utf-8") for part in parts if part.exists())

    def renew_server(self, now: datetime) -> None:
        """Make a new server certificate, by the same authority, for the hosts of the settings."""
        make_server_certificate(self.folder, self.settings.hosts, now)

    def begin_authority(self, now: datetime) -> TrustUpdate:
        """Make the next authority; sites trust it beside the old one once they took the update."""
        following = self.folder / "next"
        if not (following / "cross.crt").exists():
            make_authority(following, now)
            # Written last: with it, the change has begun.
            write_whole(following / "cross.crt", cross_sign(self.folder, following, now))
        return self.trust_update(now)

    def trust_update(self, now: datetime) -> TrustUpdate:
        """The authorities that sites should trust now, signed for them."""
        update = TrustUpdate(
            federation=self.settings.id,
            authorities=self.authorities(),
            issued=now.isoformat(timespec="seconds"),
        )
        return update.signed_by(self.folder / "coordinator.key")

    def finish_authority(self, now: datetime) -> TrustUpdate:
        """Let the next authority take the old one's place and sign a server certificate.

        The old one vouches for it, so that a site that has not taken the update stays connected.
        A crash at any step leaves a change that this finishes when called again.

        Returns
        -------
        TrustUpdate
            By which sites give up the old authority.

        Raises
        ------
        FederationError
            When no change of authority was begun.
        """
        following = self.folder / "next"
        vouched = following / "cross.crt"
        if not vouched.exists():
            raise FederationError(
                "no change of authority was begun",
                hint="first `fedrisk federation rotate --authority`, then each site `site trust`",
            )
        self._add_cross(vouched.read_text(encoding="utf-8"))
        for name in ("ca.key", "ca.crt"):
            if (following / name).exists():
                (following / name).replace(self.folder / name)
        self.renew_server(now)
        vouched.unlink()
        following.rmdir()
        return self.trust_update(now)

    def _add_cross(self, certificate: str) -> None:
        path = self.folder / "cross.crt"
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        if certificate not in known:
            write_whole(path, certificate + known)

    @contextmanager
    def running_alone(self) -> Iterator[None]:
        """Hold the folder's lock; HomeError when another process runs this federation."""
        with hold_folder(self.folder, "this federation"):
            yield


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def new_settings(hosts: Sequence[str], port: int, **others: Any) -> FederationSettings:
    """Settings of a new federation, with an id of its own.

    Raises
    ------
    FederationError
        When a value does not fit.
    """
    try:
        return FederationSettings(id=secrets.token_hex(8), hosts=tuple(hosts), port=port, **others)
    except ValidationError as error:
        raise FederationError(f"settings: {wrong_keys(error)}") from None
