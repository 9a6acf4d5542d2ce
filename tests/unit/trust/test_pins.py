import pytest

from gateway.model.assurance import TlsResult
from gateway.model.destination import Pin
from gateway.model.errors import TlsFailure
from gateway.trust.chain import Chain
from gateway.trust.pins import match_pin
from tests.unit.trust.issuing import issue, make_pki

PKI = make_pki()
CHAIN = Chain((PKI.leaf.der, PKI.intermediate.der))
PIN = Pin(CHAIN.spki_sha256)
OTHER = Pin("ab" * 32)


def test_b33_the_pin_of_the_leaf_matches() -> None:
    assert match_pin(CHAIN, frozenset({PIN, OTHER})) == PIN


def test_b33_the_backup_pin_matches_after_a_key_roll() -> None:
    rolled = issue("mx1.example.nl", PKI.intermediate)
    backup = Pin(Chain((rolled.der,)).spki_sha256)
    assert match_pin(Chain((rolled.der,)), frozenset({PIN, backup})) == backup


def test_b33_an_expired_leaf_with_another_name_matches_by_its_key() -> None:
    old = issue("whatever", days=(-9, -2))
    pin = Pin(Chain((old.der,)).spki_sha256)
    assert match_pin(Chain((old.der,)), frozenset({pin})) == pin


@pytest.mark.parametrize(
    "pins",
    [
        frozenset({OTHER}),
        frozenset(),
        frozenset({Pin(Chain((PKI.intermediate.der,)).spki_sha256)}),
    ],
    ids=["unknown key", "no pins", "pin of the issuer"],
)
def test_b33_anything_else_is_a_mismatch(pins: frozenset[Pin]) -> None:
    with pytest.raises(TlsFailure) as failure:
        match_pin(CHAIN, pins)
    assert failure.value.result is TlsResult.PIN_MISMATCH
