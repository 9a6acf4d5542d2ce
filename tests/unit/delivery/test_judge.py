import pytest

from gateway.delivery.judge import Matched, judge
from gateway.model.address import Domain
from gateway.model.assurance import Mechanism, TlsResult
from gateway.model.destination import (
    DaneDemand,
    Hop,
    Opportunistic,
    Pin,
    PinDemand,
    TlsDemand,
)
from gateway.model.errors import TlsFailure
from gateway.model.peer import TlsFacts
from gateway.trust.chain import Chain
from tests.unit.trust.issuing import NOW, make_pki

PKI = make_pki()
CHAIN = (PKI.leaf.der, PKI.intermediate.der)
PIN = Pin(Chain(CHAIN).spki_sha256)
OTHER = Pin("cd" * 32)
NAMES = (Domain("mx1.example.nl"),)
EE, TA = PKI.leaf.tlsa(3, 1, 1), PKI.intermediate.tlsa(2, 1, 1)


def dane(*records, pins=frozenset()) -> DaneDemand:
    return DaneDemand(frozenset(records), NAMES, frozenset(pins))


def hop(demand) -> Hop:
    return Hop("mx1.example.nl", 25, ("9.9.9.9",), "mx1.example.nl", demand, "")


def tls(chain=CHAIN) -> TlsFacts:
    return TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", chain)


@pytest.mark.parametrize(
    ("demand", "facts", "matched"),
    [
        (Opportunistic(), None, Matched(Mechanism.PLAINTEXT, None)),
        (Opportunistic(), tls(), Matched(Mechanism.UNAUTHENTICATED_TLS, None)),
        (TlsDemand(), tls(()), Matched(Mechanism.UNAUTHENTICATED_TLS, None)),
        (dane(EE), tls(), Matched(Mechanism.DANE_EE, f"tlsa {EE}")),
        (dane(TA), tls(), Matched(Mechanism.DANE_TA, f"tlsa {TA}")),
        (
            dane(EE, pins={PIN}),
            tls(),
            Matched(Mechanism.DANE_EE, f"tlsa {EE}, pin {PIN.spki_sha256}"),
        ),
        (
            PinDemand(frozenset({PIN, OTHER})),
            tls(),
            Matched(Mechanism.PIN, f"pin {PIN.spki_sha256}"),
        ),
    ],
)
def test_a_hop_that_proves_what_is_asked_passes(demand, facts, matched) -> None:
    assert judge(hop(demand), facts, NOW) == matched


@pytest.mark.parametrize(
    ("demand", "facts", "result"),
    [
        (TlsDemand(), None, TlsResult.STARTTLS_NOT_SUPPORTED),
        (dane(EE), None, TlsResult.STARTTLS_NOT_SUPPORTED),
        (PinDemand(frozenset({PIN})), None, TlsResult.STARTTLS_NOT_SUPPORTED),
        (dane(EE), tls(()), TlsResult.VALIDATION_FAILURE),
        (PinDemand(frozenset({PIN})), tls(()), TlsResult.VALIDATION_FAILURE),
        (dane(EE), tls(CHAIN[1:]), TlsResult.VALIDATION_FAILURE),
        (dane(), tls(), TlsResult.VALIDATION_FAILURE),
        (PinDemand(frozenset({OTHER})), tls(), TlsResult.PIN_MISMATCH),
        (PinDemand(frozenset()), tls(), TlsResult.PIN_MISMATCH),
    ],
)
def test_b17_b30_a_hop_that_does_not_is_turned_away(demand, facts, result) -> None:
    with pytest.raises(TlsFailure) as failure:
        judge(hop(demand), facts, NOW)
    assert failure.value.result is result


def test_b24_a_pin_never_rescues_a_dane_failure_nor_dane_a_pin() -> None:
    with pytest.raises(TlsFailure) as failure:
        judge(hop(dane(PKI.root.tlsa(3, 1, 1), pins={PIN})), tls(), NOW)
    assert failure.value.result is TlsResult.VALIDATION_FAILURE
    with pytest.raises(TlsFailure) as failure:
        judge(hop(dane(EE, pins={OTHER})), tls(), NOW)
    assert failure.value.result is TlsResult.PIN_MISMATCH
