"""Pins: a chain against the keys that two people registered for a partner (B-33).

A pin is matched against the leaf only. A pin on an issuer would trust everybody whom
that issuer certifies.
"""

from gateway.model.assurance import TlsResult
from gateway.model.destination import Pin
from gateway.model.errors import TlsFailure
from gateway.trust.chain import Chain


def match_pin(chain: Chain, pins: frozenset[Pin]) -> Pin:
    """Find the pin of the leaf's key.

    Args:
        chain: As presented.
        pins: The registered ones, current and backup; an empty set never passes.

    Returns:
        The pin that matched. Names and dates are not looked at: the key is the proof.

    Raises:
        TlsFailure: With `pin-mismatch` when none is the leaf's, `validation-failure`
            when the leaf is no certificate.
    """
    seen = Pin(chain.spki_sha256)
    if seen not in pins:
        raise TlsFailure(
            TlsResult.PIN_MISMATCH,
            f"key {seen.spki_sha256[:16]} is none of {len(pins)} pins",
        )
    return seen
