"""The one place that builds a TLS context which verifies nothing by itself (C-07).

DANE and pins do not ask a certificate authority, so the handshake cannot judge: the
chain is taken out and `delivery.judge` decides, before any envelope octet. A session is
never resumed and a context has no state that another hop could profit from (B-32).

Groups and signature algorithms cannot be set through `ssl` before Python 3.15; they
come from the process's OpenSSL configuration (C-03).
"""

import ssl
from typing import Any

from gateway.model.peer import TlsFacts

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # NCSC-NL 2025-05, for TLS 1.2 (C-02)


def client_context() -> ssl.SSLContext:
    """A context for next hops: TLS 1.2 at least, no verification (C-01, C-02, C-06).

    Whoever uses it must call `judge` before anything else is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= (
        ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    )
    return context


def facts_of(session: ssl.SSLObject) -> TlsFacts:
    """What was negotiated in this very session, and the chain as presented."""
    cipher = session.cipher()
    return TlsFacts(
        version=session.version() or "",
        cipher=cipher[0] if cipher else "",
        chain=presented_chain(session),
    )


def presented_chain(session: Any) -> tuple[bytes, ...]:
    """The chain in DER, leaf first; empty when the peer presented none (C-08).

    `get_unverified_chain` is public from Python 3.13 and answers octets; before that it
    is on the inner object and answers certificates. Feature, not version, decides.
    """
    public = getattr(session, "get_unverified_chain", None)
    found = public() if public else session._sslobj.get_unverified_chain()  # noqa: SLF001
    return tuple(map(_der, found or ()))


def _der(certificate: Any) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    return ssl.PEM_cert_to_DER_cert(certificate.public_bytes())  # PEM by default
