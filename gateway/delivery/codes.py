"""K-codes of routes and hops: one line of meaning each; the sentences are in `texts/`.

The numbers are a promise to administrators, who search for them: none is ever reused.
"""

from typing import Final

from gateway.model.assurance import TlsResult
from gateway.model.ids import Code

# No route can be authenticated, and that is proven.
NOT_AUTHENTICATED: Final = Code("K401")
# DNS could not be asked, or its answer is bogus.
DNS_UNAVAILABLE: Final = Code("K402")
# STARTTLS is missing, or no TLS session came about.
STARTTLS_MISSING: Final = Code("K403")
# The certificate does not match the published TLSA records (DANE).
DANE_MISMATCH: Final = Code("K404")
# The key does not match the registered pins.
PIN_MISMATCH: Final = Code("K405")
# No connection could be made.
UNREACHABLE: Final = Code("K406")
# The domain does not exist or receives no mail.
NO_MAIL: Final = Code("K407")
# The address is one that the gateway never connects to (B-04).
ADDRESS_BARRED: Final = Code("K408")
# The hop refused; its reply says why.
HOP_REFUSED: Final = Code("K409")
# The hop answered nonsense or fell silent.
HOP_FAULTY: Final = Code("K410")
# The hop lacks 8BITMIME, and the message has octets beyond ASCII.
EXTENSION_MISSING: Final = Code("K411")
# The mechanism that the partner is recorded to have is gone (B-25).
REQUIRED_MISSING: Final = Code("K412")
# The message may only go to who keeps the tag REQUIRETLS, and no host offers that.
REQUIRETLS_MISSING: Final = Code("K413")
# An address or header field is beyond ASCII, and the hop lacks SMTPUTF8.
SMTPUTF8_MISSING: Final = Code("K414")
# The message is larger than the hop says it takes.
TOO_BIG: Final = Code("K415")


def code_of(result: TlsResult) -> Code:
    """The code under which a person finds what this TLS result means.

    Args:
        result: Why `judge` or `plan` turned a hop away.
    """
    match result:
        case TlsResult.STARTTLS_NOT_SUPPORTED:
            return STARTTLS_MISSING
        case TlsResult.PIN_MISMATCH:
            return PIN_MISMATCH
        case TlsResult.DNSSEC_INVALID:
            return DNS_UNAVAILABLE
        case TlsResult.DANE_REQUIRED:
            return REQUIRED_MISSING
        case _:
            return DANE_MISMATCH
