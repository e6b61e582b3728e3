"""Certificates of a federation: its authority, and the certificate that the coordinator shows."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedrisk.durable import write_private, write_whole
from fedrisk.errors import FederationError

#: Clocks of sites and coordinator may differ by this much.
CLOCK_SKEW = timedelta(hours=1)
CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=365)


def make_authority(folder: Path, now: datetime) -> tuple[Path, Path]:
    """Make the federation's certificate authority: ``ca.crt`` and ``ca.key``."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedrisk federation authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    return _write_pair(folder, "ca", certificate, key)


def make_server_certificate(folder: Path, hosts: Sequence[str], now: datetime) -> tuple[Path, Path]:
    """Make the SuperLink's certificate for these host names and addresses, signed by ``ca.key``.

    Returns
    -------
    certificate, key : Path
        ``server.crt`` and ``server.key`` in the folder. What ``cross.crt`` holds follows the
        certificate, so that sites that trust an earlier authority accept it too.
    """
    authority, authority_key = _authority(folder)
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        _builder(name, authority.subject, key.public_key(), now, SERVER_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    return _write_pair(folder, "server", certificate, key, _text(folder / "cross.crt"))


def cross_sign(folder: Path, following: Path, now: datetime) -> str:
    """Let the authority in ``folder`` vouch for the one in ``following``; PEM.

    Its name is the same, so the path length of the former authority does not forbid it (RFC 5280,
    4.2.1.9).
    """
    former, former_key = _authority(folder)
    latter, _ = _authority(following)
    public_key = latter.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise FederationError(f"{following / 'ca.crt'} is not of an elliptic-curve key")
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(former_key.public_key())
    lifetime = former.not_valid_after_utc - now
    certificate = (
        _builder(latter.subject, former.subject, public_key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(identifier, critical=False)
        .sign(former_key, hashes.SHA384())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def check_authorities(text: str) -> str:
    """Return PEM text that holds at least one certificate.

    Raises
    ------
    FederationError
        When it does not.
    """
    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise FederationError("the authorities are no certificates in PEM form") from None
    return text


def expiry(certificate: Path) -> datetime:
    """End of a certificate's validity.

    Raises
    ------
    FederationError
        When the file is missing or holds no certificate.
    """
    return read_certificate(certificate).not_valid_after_utc


def read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file.

    Raises
    ------
    FederationError
        When the file is missing or holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise FederationError(
            f"no certificate at {path}: {error.strerror}",
            hint="restore the file from a copy; without its authority a federation cannot go on",
        ) from None
    except ValueError:
        raise FederationError(f"{path} holds no certificate in PEM form") from None


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = read_certificate(folder / "ca.crt")
    try:
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise FederationError(f"the authority's key {folder / 'ca.key'}: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FederationError(f"{folder / 'ca.key'} is not an elliptic-curve key")
    return certificate, key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write_pair(
    folder: Path,
    name: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    chain: str = "",
) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    public, private = folder / f"{name}.crt", folder / f"{name}.key"
    # The key first: a running coordinator starts its gateway anew when the certificate changes.
    write_private(
        private,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_whole(public, certificate.public_bytes(serialization.Encoding.PEM).decode() + chain)
    return public, private
