"""Throw-away keys, certificates, TLSA records and pins, made while the tests run."""

import dataclasses
import datetime
import hashlib
import ipaddress
import pathlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.model.destination import Pin, Tlsa

_DER = serialization.Encoding.DER
_PEM = serialization.Encoding.PEM
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclasses.dataclass(frozen=True)
class Credential:
    """A certificate with its key and what is sent along with it, leaf first."""

    certificate: x509.Certificate
    key: Key = dataclasses.field(repr=False)
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.issuers)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        return tuple(each.public_bytes(_DER) for each in self.chain)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(each.public_bytes(_PEM) for each in self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def pin(self) -> Pin:
        return Pin(spki_sha256(self.certificate))

    def write(self, place: pathlib.Path, name: str = "server") -> "Files":
        """Write certificate chain, key, and both in one file (key first)."""
        place.mkdir(parents=True, exist_ok=True)
        files = Files(
            place / f"{name}.crt", place / f"{name}.key", place / f"{name}.pem"
        )
        files.certificate.write_bytes(self.chain_pem)
        for path, octets in (
            (files.key, self.key_pem),
            (files.both, self.key_pem + self.chain_pem),
        ):
            path.touch(mode=0o600)
            path.write_bytes(octets)
        return files


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a credential was written."""

    certificate: pathlib.Path
    key: pathlib.Path
    both: pathlib.Path


def make_key(kind: str = "ec") -> Key:
    """A fresh key: `ec` (P-256), `ec384`, `rsa` (2048), or `rsa1024`, `rsa3072`."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    curve = {"ec": ec.SECP256R1(), "ec384": ec.SECP384R1()}[kind]
    return ec.generate_private_key(curve)


def make_ca(name: str, parent: Credential | None = None, key: str = "ec") -> Credential:
    """A certification authority: a root, or an intermediate under `parent`."""
    own = make_key(key)
    authority = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, own, parent, None, None)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(authority, critical=True)
    )
    return _sign(builder, own, parent)


def issue(
    ca: Credential,
    names: Iterable[str],
    *,
    key: str | Key = "ec",
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
    subject: str | None = None,
    send_root: bool = True,
) -> Credential:
    """A server certificate of `ca` for these DNS names or IP texts.

    Args:
        ca: From `make_ca`.
        names: For subjectAltName; empty leaves the extension out.
        key: Kind as in `make_key`, or a key to certify anew.
        not_before: Default: a day ago.
        not_after: Default: in 30 days.
        subject: The common name; default the first name.
        send_root: Whether the root goes along in the chain, as DANE-TA needs it.
    """
    listed = tuple(names)
    own = make_key(key) if isinstance(key, str) else key
    common = subject if subject is not None else (listed or ("nameless",))[0]
    builder = _leaf(_builder(common, own, ca, not_before, not_after), listed)
    made = _sign(builder, own, ca)
    if send_root:
        return made
    below = tuple(each for each in made.issuers if each.issuer != each.subject)
    return dataclasses.replace(made, issuers=below)


def revocation_list(
    ca: Credential, *revoked: Credential, until: datetime.datetime | None = None
) -> bytes:
    """The list of an authority, PEM: what it revoked, and until when the list holds."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - datetime.timedelta(days=2))
        .next_update(until or now + datetime.timedelta(days=1))
    )
    for credential in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(credential.certificate.serial_number)
            .revocation_date(now - datetime.timedelta(days=1))
            .build()
        )
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(_PEM)


def self_signed(
    names: Iterable[str] = (),
    *,
    key: str = "ec",
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
    subject: str = "self-signed",
) -> Credential:
    """A self-signed server certificate, as many mail servers have."""
    own = make_key(key)
    builder = _builder(subject, own, None, not_before, not_after)
    return _sign(_leaf(builder, tuple(names)), own, None)


def spki_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal: a pin."""
    octets = certificate.public_key().public_bytes(_DER, _SPKI)
    return hashlib.sha256(octets).hexdigest()


def tlsa(
    certificate: x509.Certificate, usage: int = 3, selector: int = 1, matching: int = 1
) -> Tlsa:
    """The TLSA record of a certificate (RFC 6698 section 2.1)."""
    octets = (
        certificate.public_bytes(_DER)
        if selector == 0
        else certificate.public_key().public_bytes(_DER, _SPKI)
    )
    digest = {
        0: lambda: octets,
        1: lambda: hashlib.sha256(octets).digest(),
        2: lambda: hashlib.sha512(octets).digest(),
    }[matching]
    return Tlsa(usage, selector, matching, digest())


def _builder(
    name: str,
    key: Key,
    issuer: Credential | None,
    not_before: datetime.datetime | None,
    not_after: datetime.datetime | None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = not_after or now + datetime.timedelta(days=30)
    start = not_before or min(now, end) - datetime.timedelta(days=1)
    signing = issuer.certificate.public_key() if issuer else key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issuer.certificate.subject if issuer else own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing), critical=False
        )
    )


def _leaf(
    builder: x509.CertificateBuilder, names: tuple[str, ...]
) -> x509.CertificateBuilder:
    usage = x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    ).add_extension(usage, critical=False)
    if not names:
        return builder
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return builder.add_extension(alternatives, critical=False)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sign(
    builder: x509.CertificateBuilder, own: Key, issuer: Credential | None
) -> Credential:
    signer = issuer.key if issuer else own
    certificate = builder.sign(signer, hashes.SHA256())
    return Credential(certificate, own, issuer.chain if issuer else ())
