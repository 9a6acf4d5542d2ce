"""Shows, with handshakes in memory, that TLS is as strict as we say (C-03, C-04).

OpenSSL ignores a line with one name that it does not know and says nothing; its
defaults then take `ffdhe2048` and SHA-224. So the contexts are tried before anything is
served:

- the server's gets offers with one weakness each, and must answer with an alert. The
  same offer without the weakness is taken, so that a refusal is the weakness's;
- peers that know X25519 or P-256 only finish a real handshake with it (C-05);
- what the client's offers is read, and may hold nothing outside our lists. A server
  that chooses what was not offered is refused by TLS itself.

Takes some 10 ms. What an algorithm is worth: NCSC-NL TLS guidelines 2025-05.
"""

import contextlib
import dataclasses
import datetime
import os
import ssl
from collections.abc import Callable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from gateway import clock
from gateway.trust.hello import (
    TLS_1_1,
    TLS_1_2,
    TLS_1_3,
    Offer,
    format_hello,
    is_taken,
    parse_hello,
)

_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_NAME = "selftest.invalid"  # RFC 2606: no such name exists
_ROUNDS = 6  # more than any handshake takes
_P256, _X25519, _HYBRID = 23, 29, 4588
_P224, _FFDHE2048, _FFDHE3072 = 21, 256, 257
_GCM_13, _GCM_12, _CBC_12 = 0x1302, 0xC02B, 0xC009
_SHA224, _SHA1 = (0x0303, 0x0301), (0x0203, 0x0201)
_SHA256, _ED25519 = (0x0403, 0x0804, 0x0401), (0x0807,)
_SIGNALLING = 0x00FF  # "no renegotiation yet": not a suite (RFC 5746 section 3.3)

SUITES = frozenset(
    {
        *(0x1301, 0x1302, 0x1303),  # AES-GCM, ChaCha20-Poly1305
        *(0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9),  # the same after ECDHE
        _SIGNALLING,
    }
)
GROUPS = frozenset(
    {
        *(23, 24, 25, 29, 30),  # P-256, P-384, P-521, X25519, X448
        *(4587, 4588, 4589),  # P-256, X25519 and P-384, each with ML-KEM
    }
)
SIGNATURES = frozenset(
    {
        *(0x0403, 0x0503, 0x0603, 0x0807, 0x0808),  # ECDSA, Ed25519, Ed448
        *(0x0401, 0x0501, 0x0601),  # RSA, in TLS 1.2
        *(0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B),  # RSA-PSS
    }
)

_NEW = Offer(TLS_1_3, (_GCM_13,), (_X25519,), _SHA256, versions=(TLS_1_3,))
_OLD = Offer(TLS_1_2, (_GCM_12,), (_X25519,), _SHA256)
# A group below TLS 1.3 also says which curves a certificate may have (RFC 8422 section
# 5.1.1); an Ed25519 certificate has none, so that the group alone decides.
_GOOD = {
    "TLS 1.3, X25519": _NEW,
    "TLS 1.3, P-256": dataclasses.replace(_NEW, groups=(_P256,)),
    "TLS 1.3, hybrid or X25519": dataclasses.replace(_NEW, groups=(_HYBRID, _X25519)),
    "TLS 1.2, X25519": dataclasses.replace(_OLD, signatures=_ED25519),
    "TLS 1.2, P-256": dataclasses.replace(_OLD, groups=(_P256,)),
}
_BAD = {
    "TLS 1.1": dataclasses.replace(
        _OLD, version=TLS_1_1, groups=(_P256,), suites=(_CBC_12,)
    ),
    "group ffdhe2048": dataclasses.replace(_NEW, groups=(_FFDHE2048,)),
    "group ffdhe3072": dataclasses.replace(_NEW, groups=(_FFDHE3072,)),
    "group P-224": dataclasses.replace(_OLD, groups=(_P224,), signatures=_ED25519),
    "SHA-224": dataclasses.replace(_OLD, groups=(_P256,), signatures=_SHA224),
    "SHA-1": dataclasses.replace(_OLD, groups=(_P256,), signatures=_SHA1),
    "ECDHE-CBC": dataclasses.replace(_OLD, groups=(_P256,), suites=(_CBC_12,)),
}


def find_weakness(
    server: Callable[[], ssl.SSLContext], client: Callable[[], ssl.SSLContext]
) -> str | None:
    """The first thing that is not as it must be; None when all is well.

    Args:
        server: Makes a context as for a listener, still without a certificate.
        client: Makes one as for a next hop.

    Returns:
        A technical word or two, the same in every language.
    """
    try:
        return _find_in_answers(server()) or _find_in_offer(client())
    except (ssl.SSLError, ValueError) as error:
        return f"failed: {getattr(error, 'reason', None) or type(error).__name__}"


def _find_in_answers(server: ssl.SSLContext) -> str | None:
    """What the server takes and may not, or refuses and should not.

    Raises:
        ssl.SSLError: A handshake that must succeed does not.
    """
    certificate = _give_certificate(server, ec.generate_private_key(ec.SECP256R1()))
    # Who knows X25519 prefers it; Python 3.11.2 cannot narrow a peer to it alone.
    for group in (None, "prime256v1"):
        _shake(server, _peer(certificate, group))
    _give_certificate(server, ed25519.Ed25519PrivateKey.generate())
    for name, offer in _GOOD.items():
        if not _takes(server, offer):
            return f"refused: {name}"
    for name, offer in _BAD.items():
        if _takes(server, offer):
            return f"accepted: {name}"
    return None


def _takes(server: ssl.SSLContext, offer: Offer) -> bool:
    read, write = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server.wrap_bio(read, write, server_side=True)
    read.write(format_hello(offer))
    with contextlib.suppress(ssl.SSLError):  # it wants more, or refuses
        session.do_handshake()
    return is_taken(write.read())


def _find_in_offer(client: ssl.SSLContext) -> str | None:
    """What our own ClientHello has that it may not have."""
    write = ssl.MemoryBIO()
    session = client.wrap_bio(ssl.MemoryBIO(), write, server_hostname=_NAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    offer = parse_hello(write.read())
    for what, found, allowed in (
        ("version", offer.versions or (offer.version,), {TLS_1_2, TLS_1_3}),
        ("suite", offer.suites, SUITES),
        ("group", offer.groups, GROUPS),
        ("signature", offer.signatures, SIGNATURES),
        ("compression", offer.compressions, {0}),
    ):
        for number in found:
            if number not in allowed:
                return f"offered: {what} {number:#06x}"
        if not found:
            return f"offered: {what} -"
    return None


def _peer(certificate: str, group: str | None) -> ssl.SSLContext:
    """A peer, or one that knows one group; it alone may be narrowed so (C-05)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate)
    if group is not None:
        context.set_ecdh_curve(group)
    return context


def _shake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A whole handshake.

    Raises:
        ssl.SSLError: It does not come about.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=_NAME),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_ROUNDS):
        ends = [end for end in ends if not _advance(end)]
    if ends:
        raise ssl.SSLError("the handshake does not end")


def _advance(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _give_certificate(server: ssl.SSLContext, key: _Key) -> str:
    """Give the context a throw-away certificate of this key; answers it in PEM.

    A context has one of each kind of key.
    """
    by = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - datetime.timedelta(days=1))
        .not_valid_after(clock.now() + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), False)
        .sign(key, by)
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with _file_in_memory(secret + pem) as path:
        server.load_cert_chain(path)
    return pem.decode("ascii")


@contextlib.contextmanager
def _file_in_memory(octets: bytes) -> Iterator[str]:
    """A path to octets that are never on a disk: `ssl` takes keys from files only."""
    descriptor = os.memfd_create("selftest")
    try:
        os.write(descriptor, octets)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
