"""Signs that a text is about one person: number, birth date, name, case, address (R16).

What a sign is worth is said by the rule packs; here is only what counts as one. All
patterns are RE2 and run in linear time over `Normal.clean`, where hyphens and runs of
space are one space.
"""

import bisect
from collections.abc import Iterator
from typing import Any, NamedTuple

import re2

from gateway.policy.normal import Normal
from gateway.policy.pattern import Accept, PatternSet

_WEIGHTS = (9, 8, 7, 6, 5, 4, 3, 2, -1)
_BSN_DIGITS = 9
_CONTEXT_BEFORE = 60
_SALUTATION_BEFORE = 24
_AROUND = 20
_FIRST_YEAR, _LAST_YEAR = 1905, 2018  # of birth; a later year is more likely a date
_CENTURY_PIVOT = 30  # a two-digit year from here on is of the last century

_MONTH = (
    "(?:jan(?:uari)?|feb(?:ruari)?|mrt|maart|apr(?:il)?|mei|juni?|juli?|aug(?:ustus)?"
    "|sep(?:t(?:ember)?)?|okt(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = rf"\d{{1,2}}(?:[ /.]\d{{1,2}}[ /.]|\.? {_MONTH}\.? )(?:19|20)?\d{{2}}\b"
_YEAR = r"(?:19|20)\d\d"
_PARTICLES = r"(?:(?:van|de|den|der|el|ter|te|ten|von|la|le|v\.d\.) )*"
_SURNAME = rf"{_PARTICLES}[A-Z][A-Za-z]+"
_TITLE = (
    r"(?:[Mm]evrouw|[Mm]eneer|(?:[Dd]e )?[Hh]eer|[Dd]hr\.?|[Mm]evr\.?|[Mm]w\.?"
    r"|[Cc]lient(?:e)?|[Pp]atient(?:e)?|[Bb]etrokkene|(?:[Ee]x )?[Gg]edetineerde"
    r"|[Cc]asus|[Vv]erdachte|[Vv]eroordeelde|[Ii]nzake|[Nn]aam|[Zz]aak)"
)
_NUMBER = r"(?:^|[^\d])((?:\d[. ]?){7,8}\d)(?:[^\d]|$)"
_NUMBER_CONTEXT = r"(?i)\b(?:bsn|burgerservice ?nummer|sofi(?:nummer)?)\b"
_BORN = (
    rf"(?i)\b(?:geboren|geb\.?|geboortedatum|geb\.? ?datum|gebdat)\b"
    rf"[ :.]*(?:op |te |in )?(?:{_DATE}|{_YEAR}\b)"
)
_DATE_AFTER_NAME = (
    rf"\b(?:[A-Z][A-Za-z.]+,? ?\((?:\*? ?)({_DATE}|{_YEAR})\)"
    rf"|(?:[A-Z]\.?|[A-Z]?[a-z]{{0,2}}[A-Z]{{1,3}}\.?),? ({_DATE}))"
)
_DATE_BARE_AFTER_NAME = (
    rf"\b{_SURNAME}(?:, ?(?:[A-Z]\.? ?)+)?,? (\d{{1,2}}[ /.]\d{{1,2}}[ /.]19\d\d"
    rf"|\d{{1,2}} {_MONTH} 19\d\d)\b"
)
_YEAR_AFTER_NAME = r"\b([A-Z][a-z]{2,}) (19[2-9]\d|200\d)\b"
_NO_NAMES = re2.compile(
    r"(?i)(?:wet|besluit|regeling|verordening|code|wetboek|januari|februari|maart|april"
    r"|juni|juli|augustus|september|oktober|november|december|sinds|anno|begin|eind"
    r"|jaar|zomer|najaar|voorjaar|winter|herfst|uit|van|tot|voor|periode|bestaat)$"
)
_AGE = (
    r"(?:[A-Za-z]\.? ?\((?:1[0-9]|[2-9][0-9])(?: ?jaar| ?jr\.?)?\)"
    r"|[A-Za-z]{2,}, (?:1[0-9]|[2-9][0-9]) jaar\b"
    r"|\((?:1[0-9]|[2-9][0-9]) ?(?:jaar|jr\.?|j)\b)"
)
_NAME = (
    rf"\b{_TITLE}:? (?:(?:[A-Z][a-z]{{0,3}}\. ?)+(?:\([A-Z][a-z]+\) )?{_SURNAME}"
    rf"|{_SURNAME}|[A-Z]\.)"
)
_SALUTATION = re2.compile(
    r"(?i)\b(?:geachte|beste|dag|hallo|hoi|lieve|goedemorgen|goedemiddag|goedenavond"
    r"|aan|cc|t\.a\.v\.|namens|contactpersoon|ambtenaar)\b[^.;:]*$"
)
_FULL_NAME = (
    rf"\b(?:[Oo]ver|[Vv]oor|[Ii]nzake|[Bb]etreft|heet|[Aa]angaande|[Rr]ond|familie"
    rf"|[Ss]ignaal|[Oo]verdracht|[Bb]riefadres|[Aa]anmelding(?: van)?|van) "
    rf"((?:[A-Z][a-z]+ ){{1,2}}{_SURNAME})"
)
_NO_PERSON = re2.compile(
    r"\b(?:Team|Stichting|Veilig|Jeugd|Zorg|Gemeente|Wet|Openbar?e?|Sociaal|Raad|Dienst"
    r"|Geestelijke|Penitentiaire|Algemene|Centrum|College|Huis|Woon[a-z]*|Ggz|Ggd"
    r"|Burgemeester|Wethouder|Ministerie|Minister|Rechtbank|Directeur|Bureau|Commissie)\b"
)
_INITIALS = (
    r"\b(?:[A-Z]\.[A-Z]\.(?: [a-z(]|[,:;)]|$)|[A-Z][a-z]+ [A-Z]\.(?: [a-z(]|[,:;)]|$))"
)
_CASE = (
    r"(?i)\b(?:c/\d{2}/\d{5,7}(?: ?/? ?f[az] ?rk ?\d{2}[ /]\d+)?"
    r"|f[abz] ?rk ?\d{2}[ /]\d{2,6}|\d{2}/\d{6} \d{2}\b|z(?: |/)\d{2,4}(?: |/)\d{4,9}\b"
    r"|(?:parketnummer|zaaknummer|zaaknr\.?|dossiernummer|dossiernr\.?|dossier"
    r"|skn|strafrechtsketennummer)[ :]+[a-z]{0,4}[ /]?\d[\d/. ]{3,})"
)
_ADDRESS = (
    r"\b[A-Z][a-z]+(?:straat|laan|weg|plein|hof|kade|dijk|singel|gracht|pad|steeg|plantsoen"
    r"|akker|dreef|ring|park|burcht|schuur|markt|baan|boulevard|wal|oord|horst)"
    r" \d{1,4} ?[a-zA-Z]?\b|\b(?:[A-Z][a-z]*str|[A-Z][a-z]+ (?:[Ss]traat|[Ww]eg|[Dd]ijk"
    r"|[Kk]ade|[Ll]aan|[Pp]lein)) \d{1,4}\b|\b[1-9]\d{3} ?[A-Z]{2}\b"
)
_OFFICE = re2.compile(
    r"(?i)(?:raadhuis|stadhuis|gemeentehuis|kantoor|postbus|bezoekadres)"
)


class Sign(NamedTuple):
    """One sign of a person, at a position in `Normal.clean`."""

    name: str
    at: int


SIGNS = frozenset(
    {
        "bsn",
        "number",
        "birth-date",
        "birth-year",
        "age",
        "name",
        "initials",
        "full-name",
        "case-number",
        "address",
    }
)


def passes_elfproef(digits: str) -> bool:
    """Whether 8 or 9 digits can be a citizen service number.

    Source: weights 9 to 2 and -1, sum divisible by 11, not all zero.
    """
    padded = digits.zfill(_BSN_DIGITS)
    if len(padded) != _BSN_DIGITS or not int(padded):
        return False
    total = sum(w * int(d) for w, d in zip(_WEIGHTS, padded, strict=True))
    return total % 11 == 0


def _is_birth_year(date: bytes) -> bool:
    digits = "".join(filter(str.isdigit, date[-4:].decode()))
    if len(digits) == 4:  # noqa: PLR2004 - a year in full
        return _FIRST_YEAR <= int(digits) <= _LAST_YEAR
    return int(digits[-2:]) > _CENTURY_PIVOT


def _born_then(match: Any, _clean: bytes) -> bool:
    return _is_birth_year(match.group(1) or match.group(2))


def _is_no_law(match: Any, _clean: bytes) -> bool:
    return not _NO_NAMES.search(match.group(1))


def _is_not_addressed(match: Any, clean: bytes) -> bool:
    """Whether a name stands outside a salutation."""
    before = clean[max(0, match.start() - _SALUTATION_BEFORE) : match.start()]
    return not _SALUTATION.search(before)


def _is_no_office(match: Any, clean: bytes) -> bool:
    around = clean[max(0, match.start() - _AROUND) : match.end() + _AROUND]
    return not _OFFICE.search(around)


def _is_a_person(match: Any, _clean: bytes) -> bool:
    return not _NO_PERSON.search(match.group(1))


def _always(_match: Any, _clean: bytes) -> bool:
    return True


# Sign, pattern, and what a match must be beside: numbers are read apart.
_FORMS: tuple[tuple[str, str, Accept], ...] = (
    ("birth-date", _BORN, _always),
    ("birth-date", _DATE_AFTER_NAME, _born_then),
    ("birth-date", _DATE_BARE_AFTER_NAME, _always),
    ("birth-year", _YEAR_AFTER_NAME, _is_no_law),
    ("age", _AGE, _always),
    ("name", _NAME, _is_not_addressed),
    ("full-name", _FULL_NAME, _is_a_person),
    ("initials", _INITIALS, _always),
    ("case-number", _CASE, _always),
    ("address", _ADDRESS, _is_no_office),
)
_NUMBERS, _CONTEXTS = len(_FORMS), len(_FORMS) + 1
_SET = PatternSet(
    [
        (pattern, "identifier")
        for pattern in (*(form[1] for form in _FORMS), _NUMBER, _NUMBER_CONTEXT)
    ]
)


def find_signs(text: Normal) -> list[Sign]:
    """All signs of a person in one text."""
    clean = text.clean_ascii
    signs: list[Sign] = []
    for number in _SET.matching(clean):
        if number < _NUMBERS:
            name, _, accept = _FORMS[number]
            signs += (Sign(name, at) for at in _SET.positions(number, clean, accept))
        elif number == _NUMBERS:
            signs += _numbers(clean)
    return signs


def _numbers(clean: bytes) -> Iterator[Sign]:
    """BSNs; without a word that says so, one number in eleven passes by chance."""
    contexts = [m.end() for m in _SET.matches(_CONTEXTS, clean)]
    for match in _SET.matches(_NUMBERS, clean):
        digits = "".join(filter(str.isdigit, match.group(1).decode()))
        if not passes_elfproef(digits):
            continue
        before = bisect.bisect_right(contexts, match.start(1)) - 1
        named = before >= 0 and match.start(1) - contexts[before] < _CONTEXT_BEFORE
        if named or len(digits) == _BSN_DIGITS:
            yield Sign("bsn" if named else "number", match.start(1))
