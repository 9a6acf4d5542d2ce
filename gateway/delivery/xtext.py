"""xtext and its kin: what the parameters of DSN are written in (RFC 3461, RFC 6533).

Parameters are kept and passed on letter for letter (A-26). Here they are checked before
they become part of a command, and decoded for what a person or a program reads.
"""

import re

MAX_ENVID = 100  # characters (RFC 3461 section 4.4)
MAX_ORCPT = 500  # characters (RFC 3461 section 4.2)
UTF8 = "utf-8"  # the address type of RFC 6533
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+\Z")  # an atom
# `\x{...}` is made of characters of this set; a lone `\` is none of it.
_UNITEXT = re.compile(
    r"(?:[!-*,-<>-\[\]-~\u0080-\ud7ff\ue000-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+\Z"
)


def is_envid(text: str) -> bool:
    """Whether it may stand behind `ENVID=`."""
    return len(text) <= MAX_ENVID and bool(_XTEXT.match(text))


def is_orcpt(text: str) -> bool:
    """Whether it may stand behind `ORCPT=`: an address type, `;`, the address."""
    kind, _, address = text.partition(";")
    if len(text) > MAX_ORCPT or not _TYPE.match(kind):
        return False
    if _XTEXT.match(address):
        return True
    return kind.lower() == UTF8 and bool(_UNITEXT.match(address))


def decoded(text: str) -> str:
    """What xtext stands for, when that is printable ASCII; else the xtext itself.

    What it stands for goes into a header field. An encoded line end may not end that
    field, and nothing is lost by showing the text as it came.
    """
    plain = _HEX.sub(lambda found: chr(int(found[1], 16)), text)
    return plain if plain.isascii() and plain.isprintable() else embedded(text)


def embedded(text: str) -> str:
    r"""The text with all that is no printable ASCII as `\x{...}` (RFC 6533)."""
    return "".join(
        c if c.isascii() and c.isprintable() else f"\\x{{{ord(c):02X}}}" for c in text
    )


def utf8_address(address: str) -> str:
    """An address as utf-8-addr-xtext: ASCII without space, plus, equals, backslash."""
    return "".join(
        c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}"
        for c in address
    )
