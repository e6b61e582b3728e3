"""What coordinator and site hand to each other: files without any private key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fedrisk.durable import write_whole
from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.provisioning.keys import check_public_key, fingerprint, sign, verify

#: Raised when a release changes a document or a folder; newer ones are refused.
FORMAT = 1


class Document(BaseModel):
    """A JSON file with a kind and a format number; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises
        ------
        FederationError
            When it is missing, no such document, or of a newer format.
        """
        what = cls.__doc__.splitlines()[0].rstrip(".") if cls.__doc__ else cls.__name__
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FederationError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise FederationError(f"{path} is not JSON; expected: {what}") from None
        check_format(path, found)
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, p["loc"])) or p["msg"] for p in error.errors())
            raise FederationError(f"{path}: wrong or missing: {wrong}; expected: {what}") from None

    def write(self, path: Path) -> None:
        """Write the file in one step."""
        write_whole(path, self.model_dump_json(indent=2) + "\n")


def check_format(path: Path, document: Any) -> None:
    """Raise HomeError when a newer release wrote this document or folder."""
    found = document.get("format") if isinstance(document, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise HomeError(
            f"{path} has format {found}; this version knows up to {FORMAT}",
            hint="use the newer fedrisk that wrote it",
        )


class JoinBundle(Document):
    """A join bundle, written by `fedrisk federation add-site` for one site.

    Attributes
    ----------
    federation : str
        The federation's id.
    site : str
        The site's name in it.
    superlink : str
        ``HOST:PORT`` to connect to.
    authorities : str
        Certificates to trust, PEM.
    coordinator_key : str
        Ed25519 public key by which the coordinator signs.
    version : str
        The coordinator's release of fedrisk.
    """

    kind: Literal["fedrisk join bundle"] = "fedrisk join bundle"
    federation: str
    site: str
    superlink: str
    authorities: str
    coordinator_key: str
    version: str


class JoinRequest(Document):
    """A join request, written by `fedrisk site init` for the coordinator.

    Attributes
    ----------
    federation, site : str
    node_key : str
        P-384 public key of the site's SuperNode.
    signing_key : str
        Ed25519 public key by which the site signs its egress log.
    version : str
        The site's release of fedrisk.
    """

    kind: Literal["fedrisk join request"] = "fedrisk join request"
    federation: str
    site: str
    node_key: str
    signing_key: str
    version: str

    @property
    def fingerprint(self) -> str:
        """Of both keys: what site and coordinator compare by another way than the file's."""
        return fingerprint(self.node_key, self.signing_key)

    def checked(self) -> Self:
        """The request with keys of the right kinds and nothing else in them."""
        return self.model_copy(
            update={
                "node_key": check_public_key(self.node_key, "ecdsa-sha2-nistp384"),
                "signing_key": check_public_key(self.signing_key, "ssh-ed25519"),
            }
        )


class TrustUpdate(Document):
    """A trust update, written by `fedrisk federation rotate --authority` for every site."""

    kind: Literal["fedrisk trust update"] = "fedrisk trust update"
    federation: str
    authorities: str
    issued: str
    signature: str = ""

    def _signed(self) -> bytes:
        return f"{self.kind}\n{self.federation}\n{self.issued}\n{self.authorities}".encode()

    def signed_by(self, private: Path) -> Self:
        """The update with the coordinator's signature."""
        return self.model_copy(update={"signature": sign(private, self._signed())})

    def check(self, coordinator_key: str) -> None:
        """Raise FederationError unless the coordinator signed this update."""
        if not verify(coordinator_key, self._signed(), self.signature):
            raise FederationError("the trust update is not signed by this federation's coordinator")
