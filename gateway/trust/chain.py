"""A certificate chain as a value: DER, leaf first, as the peer presented it.

Nothing here says that a chain is valid; `dane.py` and `pins.py` decide what it proves.
The public key is cut out of the certificate octet for octet: a library that parses and
writes it anew changes unusual encodings (compressed points, RSASSA-PSS keys), and then
a digest that the owner published would never match.
"""

import dataclasses
import hashlib

from cryptography import x509

from gateway.model.assurance import TlsResult
from gateway.model.errors import TlsFailure

_VERSION = 0xA0
_FIELDS_BEFORE_KEY = 5  # serial, signature, issuer, validity, subject
_LONG_FORM = 0x80


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """What a peer presented: at least one certificate, the leaf first."""

    certificates: tuple[bytes, ...] = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if not self.certificates:
            raise TlsFailure(
                TlsResult.VALIDATION_FAILURE, "the peer presented no certificate"
            )

    @property
    def leaf(self) -> bytes:
        """The certificate whose key the peer proved to hold."""
        return self.certificates[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, lower-case hexadecimal."""
        return hashlib.sha256(self.leaf).hexdigest()

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of the leaf's SubjectPublicKeyInfo, lower-case hexadecimal.

        Raises:
            TlsFailure: When the leaf is no certificate.
        """
        return hashlib.sha256(spki_of(self.leaf)).hexdigest()


def spki_of(certificate: bytes) -> bytes:
    """Cut the SubjectPublicKeyInfo out of a certificate, octet for octet.

    Args:
        certificate: DER.

    Raises:
        TlsFailure: With `validation-failure` when it is no certificate.

    Source: RFC 5280 4.1.
    """
    try:
        body = x509.load_der_x509_certificate(certificate).tbs_certificate_bytes
    except (ValueError, x509.InvalidVersion) as error:
        raise TlsFailure(
            TlsResult.VALIDATION_FAILURE, "the peer's certificate cannot be read"
        ) from error
    # From here on the structure is known to be sound: the library parsed all of it.
    at, _ = _content(body, 0)
    fields = _FIELDS_BEFORE_KEY + (body[at] == _VERSION)
    for _ in range(fields):
        at = _content(body, at)[1]
    return body[at : _content(body, at)[1]]


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Start and end of the content of the DER element at `at`."""
    length = data[at + 1]
    start = at + 2
    if length >= _LONG_FORM:
        count = length - _LONG_FORM
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    return start, start + length
