"""Who says to have written it: the mailboxes of From, Sender and Resent-* (A-46).

A strict grammar of our own, because the programs of recipients differ on everything
outside it: what is not plainly one of `addr-spec`, `name <addr-spec>` or a comma list
of these makes the authors faulty, and then the message is refused, not guessed at.
"""

import re

from gateway.extract.entity import Entity
from gateway.extract.header import to_octets, unfold
from gateway.model.address import AddressError, Mailbox

_SINGLE = ("from", "sender")
_REPEATABLE = ("resent-from", "resent-sender")
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<quoted>"(?:[^"\\\r\n]|\\[^\r\n])*")
      | (?P<angle><[^<>\s]*>)
      | (?P<comma>,)
      | (?P<word>[^\s"<>,()\[\]:;\\]+)""",
    re.VERBOSE,
)
_COMMENT_EDGE = re.compile(r"\\.|[()]", re.DOTALL)
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=\Z")
_MAX_FIELD = 64 * 1024
_MAX_COMMENT_DEPTH = 20


class _OutsideGrammarError(ValueError):
    """The field is not a mailbox list of our grammar."""


def authors_of(message: Entity) -> tuple[tuple[Mailbox, ...], bool]:
    """All mailboxes that claim authorship, and whether the fields are faulty.

    Returns:
        The mailboxes in order without doubles, and True when a field is missing,
        given twice or outside the grammar.
    """
    found: dict[Mailbox, None] = {}
    faulty = len(message.values_of("from")) != 1
    faulty = faulty or len(message.values_of("sender")) > 1
    for name in (*_SINGLE, *_REPEATABLE):
        for value in message.values_of(name):
            try:
                found.update(dict.fromkeys(parse_mailboxes(value)))
            except (_OutsideGrammarError, AddressError):
                faulty = True
    return tuple(found), faulty


def parse_mailboxes(value: str) -> tuple[Mailbox, ...]:
    """Parse a mailbox list.

    Args:
        value: A field body, folded or not, raw 8-bit as surrogate escapes.

    Raises:
        ValueError: When it is anything but a list of one or more mailboxes: a group,
            a route, an unquoted `@` or `,` in a display name, an unclosed quote.

    Source: RFC 5322 3.4; a dot in a display name is taken (obs-phrase), it is common.
    """
    text = to_octets(unfold(value)).decode("utf-8", "replace")
    if len(text) > _MAX_FIELD:
        raise _OutsideGrammarError("field is too long")
    mailboxes: list[Mailbox] = []
    phrase: list[str] = []
    angle: str | None = None
    for kind, token in (*_tokens(_without_comments(text)), ("comma", ",")):
        if kind == "comma":
            mailboxes.append(_mailbox(phrase, angle))
            phrase, angle = [], None
        elif angle is not None:
            raise _OutsideGrammarError("something follows the address")
        elif kind == "angle":
            angle = token[1:-1]
        else:
            phrase.append(token)
    return tuple(mailboxes)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _OutsideGrammarError("a character has no place here")
        at = match.end()
        kind = str(match.lastgroup)
        glued = kind == "word" and tokens and tokens[-1][0] == "quoted"
        if glued and text[match.start() - 1] == '"':
            # `"a b"@example.nl`: a quoted local-part and its domain are one address.
            tokens[-1] = ("word", tokens[-1][1] + match[0])
        elif kind != "space":
            tokens.append((kind, match[0]))
    return tokens


def _mailbox(phrase: list[str], angle: str | None) -> Mailbox:
    if angle is None:
        if len(phrase) != 1:
            raise _OutsideGrammarError("neither an address nor a name with one")
        return Mailbox.parse(phrase[0], smtputf8=True)
    if any("@" in word for word in phrase if _is_bare(word)):
        raise _OutsideGrammarError("a display name looks like an address")
    return Mailbox.parse(angle, smtputf8=True)


def _is_bare(word: str) -> bool:
    return not (word.endswith('"') or _ENCODED_WORD.match(word))


def _without_comments(text: str) -> str:
    """Comments replaced by a space; parentheses inside quotes are not comments."""
    pieces: list[str] = []
    at = 0
    for part in re.finditer(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|\(', text, re.DOTALL):
        if part.start() < at:
            continue
        pieces.append(text[at : part.start()])
        if part[0] == "(":
            at = _end_of_comment(text, part.end())
            pieces.append(" ")
        else:
            at = part.end()
            pieces.append(part[0])
    return "".join([*pieces, text[at:]])


def _end_of_comment(text: str, at: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(edge[0], 0)
        if depth > _MAX_COMMENT_DEPTH:
            break
        if depth == 0:
            return edge.end()
    raise _OutsideGrammarError("a comment has no end")
