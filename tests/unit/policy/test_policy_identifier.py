import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.identifier import SIGNS, find_signs, passes_elfproef
from gateway.policy.normal import normalise


def names(text: str) -> set[str]:
    return {sign.name for sign in find_signs(normalise(text))}


@pytest.mark.parametrize("digits", ["111222333", "123456782", "10000008"])
def test_numbers_that_pass_the_eleven_test(digits):
    assert passes_elfproef(digits)


@pytest.mark.parametrize("digits", ["111222334", "000000000", "1234567820", "0"])
def test_numbers_that_do_not_pass_the_eleven_test(digits):
    assert not passes_elfproef(digits)


@given(st.integers(1, 999_999_999))
def test_of_two_numbers_that_differ_in_one_digit_at_most_one_passes(number):
    digits = f"{number:09d}"
    if passes_elfproef(digits):
        for at in range(9):
            for other in set("0123456789") - {digits[at]}:
                changed = digits[:at] + other + digits[at + 1 :]
                assert not passes_elfproef(changed)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("BSN 111222333", "bsn"),
        ("burgerservicenummer: 111.222.333", "bsn"),
        ("(bsn 1112.22.333)", "bsn"),
        ("BSN 10000008", "bsn"),
        ("T. Proef 111222333", "number"),
        ("geboren 4 september 1979", "birth-date"),
        ("geb. 9 maart 1972", "birth-date"),
        ("geboren op 04-09-1979", "birth-date"),
        ("Proefpersoon (14-02-1995)", "birth-date"),
        ("Proefpersoon (1948)", "birth-date"),
        ("J. 12-03-81", "birth-date"),
        ("JdV 12-03-81", "birth-date"),
        ("Proefpersoon, 12 mei 1980", "birth-date"),
        ("Proefpersoon 1972", "birth-year"),
        ("Proefpersoon (49)", "age"),
        ("Hilde, 58 jaar", "age"),
        ("Timo (22 jaar)", "age"),
        ("mevrouw De Vries", "name"),
        ("over dhr. M. gebeld", "name"),
        ("de heer J.P. van der Proef", "name"),
        ("betrokkene Proefpersoon", "name"),
        ("bericht over Jan de Proef is klaar", "full-name"),
        ("G.K. valt tussen wal en schip", "initials"),
        ("Wim R. komt", "initials"),
        ("C/13/712807/FA RK 22/364", "case-number"),
        ("parketnummer 01/234567-19", "case-number"),
        ("zaaknummer: Z/26/123456", "case-number"),
        ("Dorpsstraat 12", "address"),
        ("Lange Dijk 4", "address"),
        ("4471 ZA", "address"),
    ],
)
def test_a_sign_of_a_person_is_found(text, sign):
    assert sign in names(text)
    assert sign in SIGNS


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("BSN 111222334", "bsn"),
        ("bel 06 0000 2261", "number"),
        ("ordernummer 10000008", "number"),
        ("BSN graag invullen. " + "x" * 80 + " 111222333", "bsn"),
        ("OM 12-03-24", "birth-date"),
        ("Tabel (2024)", "birth-date"),
        ("Jeugdwet 1995", "birth-year"),
        ("Januari 2005", "birth-year"),
        ("Geachte mevrouw De Vries", "name"),
        ("Beste heer Jansen", "name"),
        ("over Team Burgerzaken Noord", "full-name"),
        ("Raadhuisplein 1 | Postbus 40", "address"),
        ("binnen 12 jaar", "age"),
        ("", "bsn"),
    ],
)
def test_what_only_looks_like_a_sign_is_not_found(text, sign):
    assert sign not in names(text)


@given(st.text(max_size=300))
def test_no_text_makes_it_raise(text):
    assert names(text) <= SIGNS
