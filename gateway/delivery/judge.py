"""Whether a hop proved what the plan asks of it; asked before any envelope octet.

The connection itself is made without verification (DANE and pins do not ask a CA), so
this verdict is the only one there is: it raises, and what may not be ignored is not.
"""

import dataclasses
import datetime

from gateway.model.assurance import Mechanism, TlsResult
from gateway.model.destination import (
    DaneDemand,
    Hop,
    Opportunistic,
    PinDemand,
    TlsDemand,
)
from gateway.model.errors import TlsFailure
from gateway.model.peer import TlsFacts
from gateway.trust.chain import Chain
from gateway.trust.dane import match_tlsa
from gateway.trust.pins import match_pin

_DANE_EE = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Matched:
    """By what the hop was known, and the record or pin that matched, for evidence."""

    mechanism: Mechanism
    matched: str | None


def judge(hop: Hop, tls: TlsFacts | None, now: datetime.datetime) -> Matched:
    """Let a hop pass, or say why not.

    Args:
        hop: As planned, with its demand.
        tls: What was seen of this very connection's session; None in plaintext.
        now: For the validity of a DANE-TA path.

    Returns:
        The mechanism that was proven, never a better one.

    Raises:
        TlsFailure: When the demand is not met; the envelope may not be sent (B-30).
    """
    match hop.demand:
        case Opportunistic() if tls is None:
            return Matched(Mechanism.PLAINTEXT, None)
        case Opportunistic() | TlsDemand() if tls is not None:
            return Matched(Mechanism.UNAUTHENTICATED_TLS, None)
        case DaneDemand() as demand if tls is not None:
            return _judge_dane(demand, Chain(tls.chain), now)
        case PinDemand(pins=pins) if tls is not None:
            pin = match_pin(Chain(tls.chain), pins)
            return Matched(Mechanism.PIN, f"pin {pin.spki_sha256}")
        case (
            Opportunistic() | TlsDemand() | DaneDemand() | PinDemand()
        ):  # pragma: no branch
            raise TlsFailure(
                TlsResult.STARTTLS_NOT_SUPPORTED, "the hop does not offer STARTTLS"
            )


def _judge_dane(demand: DaneDemand, chain: Chain, now: datetime.datetime) -> Matched:
    record = match_tlsa(chain, demand.records, demand.reference_names, now)
    matched = f"tlsa {record}"
    if demand.pins:  # neither rescues the other (B-24)
        matched += f", pin {match_pin(chain, demand.pins).spki_sha256}"
    ee = record.usage == _DANE_EE
    return Matched(Mechanism.DANE_EE if ee else Mechanism.DANE_TA, matched)
