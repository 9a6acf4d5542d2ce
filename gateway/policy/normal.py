"""Text in the one form that rules are matched on (design section 4).

`clean` is NFKC with accents folded, invisible characters gone, and every run of white
space, hyphens, quote marks and emphasis as one space; letter case is kept. `squeezed`
is the same in lower case without those spaces: there "crisis-maatregel", "crisis
maatregel", a word cut by a quoted line end and "c r i s i s m a a t r e g e l" are all
one word. Positions are those of `clean` everywhere.
"""

import bisect
import dataclasses
import functools
import unicodedata
from itertools import accumulate

# Dropped: marks, which NFKD parts from their letters, controls, and what nobody sees
# (soft hyphens, joiners, direction marks, tags, fillers, private use).
_DROPPED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Me", "Mn"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc\U0001d159")
_CONTROLS = tuple(code for code in (*range(32), 127) if chr(code) not in "\t\n\v\f\r")
_LAST_ASCII = "\x7f"
_FEW = 24  # below, replacing them one by one is faster than a table
_MOST_FOR_ONE = 6  # some ligatures are whole sentences, of no language that we match
# What parts words besides white space: hyphens, quote marks, emphasis, quoted lines.
_SEPARATORS = (
    "\"'`\u00b4*_~>|-\u2010\u2011\u2012\u2013\u2014\u2015\u2018\u2019\u201a\u201b\u201c"
    "\u201d\u201e\u201f\u00ab\u00bb\u2212"
)
# Letters that do not decompose, and foreign letters that look like Latin ones.
_FOLDED = str.maketrans(
    {
        **dict.fromkeys(_SEPARATORS, " "),
        **dict.fromkeys(_CONTROLS),
        "ß": "ss",
        "æ": "ae",
        "Æ": "Ae",
        "œ": "oe",
        "Œ": "Oe",
        "ø": "o",
        "Ø": "O",
        "đ": "d",
        "Đ": "D",
        "ł": "l",
        "Ł": "L",
        "ı": "i",
        "ð": "d",
        "þ": "th",
        **dict(zip("АВЕЅІЈКМНОРСТУХ", "ABESIJKMHOPCTYX", strict=True)),
        **dict(zip("асеіјорѕухԁԛԝ", "aceijopsyxdqw", strict=True)),
        **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True)),
        **dict(zip("οανρ", "oavp", strict=True)),
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Normal:
    """One text, normalised. `starts` are the positions of words in `squeezed`.

    `clean` and `lower` come as octets too, for RE2: one octet for each character, a
    question mark for what is not ASCII, so that positions are the same.
    """

    clean: str = dataclasses.field(repr=False)
    clean_ascii: bytes = dataclasses.field(repr=False)
    lower_ascii: bytes = dataclasses.field(repr=False)
    squeezed: str = dataclasses.field(repr=False)
    starts: tuple[int, ...] = dataclasses.field(repr=False)
    edges: frozenset[int] = dataclasses.field(repr=False)

    def position(self, at: int) -> int:
        """The position in `clean` of a position in `squeezed`."""
        return at + bisect.bisect_right(self.starts, at) - 1

    def begins_word(self, at: int) -> bool:
        """Whether a word begins at this position in `squeezed`."""
        if at in self.edges:
            return True
        return not self.squeezed[at - 1].isalnum()

    def ends_word(self, past: int) -> bool:
        """Whether a word ends right before this position in `squeezed`."""
        return past >= len(self.squeezed) or (
            self.begins_word(past) or not self.squeezed[past].isalnum()
        )


def fold(text: str) -> str:
    """Compatibility forms, accents, invisible characters and look-alikes undone.

    Word separators become spaces.
    """
    if text.isascii():
        return text.translate(_FOLDED)
    # By character: the normalisation of a whole text also sorts marks, which takes
    # quadratic time, and here no mark is left to sort.
    foreign = {char for char in set(text) if char > _LAST_ASCII}
    if len(foreign) > _FEW:
        table = {ord(char): _fold_one(char) for char in foreign}
        return text.translate(table).translate(_FOLDED)
    for char in foreign:
        text = text.replace(char, _fold_one(char))
    return text.translate(_FOLDED)


@functools.lru_cache(maxsize=4096)
def _fold_one(char: str) -> str:
    if char == "\x85":  # a line end that Unicode counts among the controls
        return " "
    kept = (
        part
        for part in unicodedata.normalize("NFKD", char)
        if char.isspace() or _is_seen(part)
    )
    return "".join(kept).translate(_FOLDED)[:_MOST_FOR_ONE]


def _is_seen(char: str) -> bool:
    return unicodedata.category(char) not in _DROPPED and char not in _BLANK


def normalise(text: str) -> Normal:
    """Bring a text in the form for matching; linear in its length."""
    words = fold(text).split()
    clean = " ".join(words)
    # After NFKD no letter is left whose small form has another length (U+0130 was the
    # only one), so that positions in `lower` are those in `clean`.
    lower = clean.lower()
    starts = tuple(accumulate(map(len, words), initial=0))
    return Normal(
        clean,
        clean.encode("ascii", "replace"),
        lower.encode("ascii", "replace"),
        lower.replace(" ", ""),
        starts[:-1],
        frozenset(starts),
    )


def squeeze(term: str) -> str:
    """A term of a rule pack in the form of `Normal.squeezed`."""
    return normalise(term).squeezed
