"""Certificates for tests: real ones, made on the spot, valid around a fixed instant."""

import dataclasses
import datetime
import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from gateway.model.destination import Tlsa

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def tlsa(self, usage: int, selector: int, matching_type: int) -> Tlsa:
        data = self.der if selector == 0 else self.spki
        if matching_type:
            name = {1: "sha256", 2: "sha512"}[matching_type]
            data = hashlib.new(name, data).digest()
        return Tlsa(usage, selector, matching_type, data)


def issue(
    name: str,
    issuer: Issued | None = None,
    *,
    ca: bool | None = None,
    path_length: int | None = None,
    san: tuple[str, ...] | None = None,
    days: tuple[int, int] = (-1, 30),
    key: Any = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
    digest: Any = None,
) -> Issued:
    """A certificate; self-signed without an issuer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
    )
    if ca is not None:
        constraints = x509.BasicConstraints(ca, path_length if ca else None)
        builder = builder.add_extension(constraints, critical=True)
    if san is not None:
        names = x509.SubjectAlternativeName([x509.DNSName(n) for n in san])
        builder = builder.add_extension(names, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signer = issuer.key if issuer else key
    return Issued(builder.sign(signer, digest or hashes.SHA256()), key)


@dataclasses.dataclass(frozen=True)
class Pki:
    """root > intermediate (path length 0) > leaf for mx1.example.nl."""

    root: Issued
    intermediate: Issued
    leaf: Issued


def make_pki(**leaf: Any) -> Pki:
    root = issue("Test Root", ca=True)
    intermediate = issue("Test Intermediate", root, ca=True, path_length=0)
    options = {"san": ("mx1.example.nl",), **leaf}
    return Pki(root, intermediate, issue("mx1.example.nl", intermediate, **options))
