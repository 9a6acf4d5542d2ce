import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.normal import fold, normalise, squeeze


@pytest.mark.parametrize(
    "text",
    [
        "Crisismaatregel",
        "crisis-maatregel",
        "crisis maatregel",
        "crisis\r\n> maatregel",
        "c r i s i s m a a t r e g e l",
        "crisis\u00admaatregel",
        "crisis\u200bmaatregel",
        "crísismäatregel",
        "ｃｒｉｓｉｓｍａａｔｒｅｇｅｌ",
        "*crisis*_maatregel_",
        "сrisismaаtregel",
        "crisis–maatregel",
        *(
            character.join("crisismaatregel")
            for character in "\0\x08\x1f\x7f\u0488\u06dd\u180f\u2800\ue000\ufe2f\ufff9\ufffc"
            "\U0001d173\U000e0041"
        ),
        "\x85crisis\x85maatregel",
    ],
)
def test_every_spelling_of_a_word_becomes_one(text):
    assert squeeze(text) == "crisismaatregel"


def test_positions_in_the_squeezed_text_lead_back_to_the_clean_one():
    normal = normalise("De  zorg-machtiging  loopt af")

    at = normal.squeezed.index("machtiging")

    assert normal.clean == "De zorg machtiging loopt af"
    assert normal.clean[normal.position(at) :].startswith("machtiging")
    assert normal.begins_word(at)
    assert normal.ends_word(at + len("machtiging"))
    assert not normal.begins_word(at + 1)
    assert not normal.ends_word(at + 3)


def test_punctuation_is_an_edge_of_a_word():
    normal = normalise("(zorgkaart);x")

    at = normal.squeezed.index("zorgkaart")

    assert normal.begins_word(at)
    assert normal.ends_word(at + len("zorgkaart"))


@given(st.text(max_size=200))
def test_all_forms_of_a_text_keep_their_positions(text):
    normal = normalise(text)

    assert len(normal.clean) == len(normal.clean_ascii) == len(normal.lower_ascii)
    assert len(normal.squeezed) == len(normal.clean.replace(" ", ""))
    for at in range(len(normal.squeezed)):
        assert normal.clean[normal.position(at)] != " "


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_few_and_many_foreign_letters_are_folded_alike(text):
    many = "".join(map(chr, range(0x4E00, 0x4E40)))

    assert fold(text + many).removesuffix(many) == fold(text)


def test_a_ligature_of_a_whole_sentence_makes_a_text_no_longer_than_allowed():
    assert len(fold("\ufdfa" * 1000)) <= 6000


def test_marks_in_any_number_take_linear_time():
    started = time.process_time()

    assert fold("a" + "\u0316\u0301" * 300_000) == "a"

    assert time.process_time() - started < 2
