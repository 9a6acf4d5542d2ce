"""How well a hop is known: an ordered scale, and what can go wrong with TLS."""

import enum


class Assurance(enum.IntEnum):
    """How a hop is protected; a higher value is stricter (design section 3)."""

    NONE = 0
    ENCRYPTED = 1
    AUTHENTICATED = 2


class Mechanism(enum.Enum):
    """By what a hop was authenticated, or that it was not."""

    PLAINTEXT = "plaintext"
    UNAUTHENTICATED_TLS = "unauthenticated-tls"
    DANE_EE = "dane-ee"
    DANE_TA = "dane-ta"
    PIN = "pin"


class TlsResult(enum.Enum):
    """What can go wrong (IANA STARTTLS Validation Result Types, RFC 8460 4.3).

    `dane-required` also stands for a partner whose recorded mechanism is absent (B-25).
    The last is ours: a pin is no mechanism of RFC 8460.
    """

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    PIN_MISMATCH = "pin-mismatch"
