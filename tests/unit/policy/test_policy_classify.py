from gateway.model.classification import Level
from gateway.model.document import UnreadablePart
from gateway.policy.classify import classify
from tests.unit.policy import policy_desk as desk

PART = UnreadablePart("part/2:application/pdf", "unknown-format")
CASE = "De burgemeester nam een crisismaatregel voor mevrouw Proef, geboren 3 mei 1970."


def test_nothing_found_and_all_read_is_none():
    found = classify(desk.document("De kermis begint om acht uur."), desk.policy())

    assert (found.level, found.regimes, found.unreadable) == (Level.NONE, (), ())


def test_nothing_found_and_a_part_unread_is_unreadable():
    document = desk.document("Zie bijlage.", unreadable=(PART,))

    assert classify(document, desk.policy()).level is Level.UNREADABLE


def test_a_regime_found_outranks_an_unread_part():
    document = desk.document(CASE, unreadable=(PART,))

    found = classify(document, desk.policy())

    assert found.level is Level.CERTAIN
    assert found.unreadable == (PART,)


def test_the_surest_regime_comes_first_and_gives_the_level():
    text = (
        CASE + " Zij komt 4 juni vrij uit detentie, zonder toezicht, en heeft haar ex "
        "bedreigd. Dit deel ik op grond van artikel 18b Pbw."
    )

    found = classify(desk.document(text), desk.policy())

    assert {r.id for r in found.regimes} == {"wvggz", "pbw18b"}
    ordered = [(r.level, r.score) for r in found.regimes]
    assert sorted(ordered, reverse=True) == ordered
    assert found.level is found.regimes[0].level


def test_no_finding_holds_a_word_of_the_message():
    found = classify(desk.document(CASE), desk.policy())

    assert "Proef" not in repr(found)
    assert "burgemeester nam" not in repr(found)


def test_case_in_the_middle_of_a_long_text_is_found():
    filler = "De markt is verplaatst naar het plein bij de kerk. " * 200

    found = classify(desk.document(filler + CASE + filler), desk.policy())

    assert found.level is Level.CERTAIN
