"""What is fuzzed octet by octet, each with what must hold of every input.

A target is a function of octets that raises `AssertionError` (or anything else that is
not an expected refusal) for a finding. The oracles are other ways to the same answer:
regular expressions from the RFCs, line by line reading, the parser of the library.
"""

import email.utils
import functools
import re

from gateway.extract.author import parse_mailboxes
from gateway.extract.reading import MAX_TEXT, read
from gateway.intake import dsn, path
from gateway.intake.answer import Refusal
from gateway.intake.header import check_header, header_end, strip_fields
from gateway.model.address import AddressError, Domain, Mailbox, ReversePath
from tests.fuzz.dialogue import Bench
from tests.fuzz.script import Script
from tests.fuzz.sound import header_flaws, header_of, without_stripped
from tests.fuzz.words import ADDRESSES, CERTIFICATE
from tests.unit.intake.intake_desk import IMPLICIT, OPEN, STARTTLS

HOME = Domain("gem.nl")
_ATOM = r"[^\x00-\x20\x7f\"(),:;<>@\[\]\\.]+"
_LOCAL = re.compile(rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^\x00-\x1f\x7f"\\]|\\[ -~])*")')
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)+(?!\d+\Z)(?!-)[a-z0-9-]{1,63}(?<!-)"
)
_EHLO = b"EHLO x\r\nMAIL FROM:<jan@gem.nl>\r\nRCPT TO:<a@b.nl>\r\n"


# --- addresses ---------------------------------------------------------------------
def check_mailbox(mailbox, text, *, utf8):
    """One that was accepted: verbatim, within the limits, and again the same."""
    local, _, domain = text.rpartition("@")
    assert mailbox.local_part == local
    assert local.isascii() or utf8
    assert 0 < len(local.encode()) <= 64
    assert len(text.encode()) <= 254
    assert _LOCAL.fullmatch(local), local
    assert _DOMAIN.fullmatch(mailbox.domain.name), mailbox.domain.name
    if domain.isascii():
        assert mailbox.domain.name == domain.lower()
    assert Mailbox.parse(str(mailbox), smtputf8=utf8) == mailbox


def address(octets):
    text = octets.decode("utf-8", "surrogateescape")
    accepted = []
    for utf8 in (False, True):
        try:
            mailbox = Mailbox.parse(text, smtputf8=utf8)
        except AddressError:
            continue
        check_mailbox(mailbox, text, utf8=utf8)
        accepted.append(mailbox)
    assert len(set(accepted)) <= 1
    ordinary = re.fullmatch(r"[a-z0-9]{1,64}@[a-z]{1,20}\.(?:nl|example)", text)
    assert accepted or not ordinary


def command_path(octets):
    """The argument of MAIL and RCPT, parameters and all."""
    text = octets.decode("utf-8", "surrogateescape")
    for keyword, utf8 in (("FROM:", False), ("TO:", False), ("TO:", True)):
        try:
            found, parameters = parse_path(keyword, text, utf8=utf8)
        except Refusal:
            continue
        assert isinstance(found, Mailbox | ReversePath)
        shown = str(found)
        match = re.match(
            rf' *<((?:{_LOCAL.pattern})@[^<>\s"]+|(?i:postmaster)|)>(?= |\Z)', text
        )
        assert match, text
        given = match[1]
        assert text.isascii() or utf8 or "SMTPUTF8" in parameters
        local, at, domain = given.rpartition("@")
        if given.lower() == "postmaster":
            assert shown == f"{given}@gem.nl"
        elif domain.isascii():
            assert shown == local + at + domain.lower()
        else:
            assert shown.startswith(local + at)
            assert shown.rpartition("@")[2].isascii()
        assert given or keyword == "FROM:"
        check_parameters(parameters, text[match.end() :])
        assert parse_path(keyword, written(given, parameters), utf8=utf8) == (
            found,
            parameters,
        )


def parse_path(keyword, text, *, utf8):
    if keyword == "FROM:":
        return path.parse_reverse_path(keyword + text)
    return path.parse_recipient(keyword + text, HOME, smtputf8=utf8)


def written(given, parameters):
    """The argument once more, from what was read in it."""
    return " ".join(
        [
            f"<{given}>",
            *(
                name if value is None else f"{name}={value}"
                for name, value in parameters.items()
            ),
        ]
    )


def check_parameters(parameters, rest):
    """All are there and only they."""
    tokens = [token for token in rest.split(" ") if token]
    assert len(parameters) == len(tokens)
    for token in tokens:
        name, equals, value = token.partition("=")
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name)
        assert parameters[name.upper()] == (value if equals else None)
        assert not equals or re.fullmatch(r"[^\x00-\x20=\x7f]+", value)


def parse_or_none(parse, parameters):
    try:
        return parse(parameters)
    except Refusal:
        return None


def wishes(octets):
    """The parameters of DSN: what is taken is what RFC 3461 and 6533 know, verbatim."""
    try:
        text = octets.decode("utf-8")
    except UnicodeError:
        return  # is no value of a parameter
    if parse_or_none(dsn.parse_ret, {"RET": text}) is not None:
        assert text.upper() in {"FULL", "HDRS"}
        assert text.isascii()
    envid = parse_or_none(dsn.parse_envid, {"ENVID": text})
    if envid is not None:
        assert envid == text
        assert re.fullmatch(r"(?:[!-~]+)", text)
        assert len(text) <= 100
        assert "=" not in text
    wish = parse_or_none(
        dsn.parse_recipient_wish, {"NOTIFY": text, "ORCPT": "rfc822;a"}
    )
    if wish is not None:
        assert text.isascii()
        words = text.upper().split(",")
        assert sorted(words) == sorted(word.value for word in wish.notify)
        assert words == ["NEVER"] or set(words) <= {"SUCCESS", "FAILURE", "DELAY"}
    try:
        wish = dsn.parse_recipient_wish({"ORCPT": text})
    except Refusal:
        return
    assert wish.orcpt == text
    assert len(octets) <= 500
    kind, mark, address = text.partition(";")
    assert mark
    assert address
    assert not re.search(r"[\x00-\x20\x7f-\x9f\ud800-\udfff=]", text)
    assert text.isascii() or kind.lower() == "utf-8"


def author(octets):
    """From and Sender: what we take, the parser of the library takes for the same."""
    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", octets):
        return  # is refused before
    value = octets.decode("ascii", "surrogateescape")
    try:
        mailboxes = parse_mailboxes(value)
    except ValueError:
        return
    assert mailboxes
    for mailbox in mailboxes:
        check_mailbox(mailbox, f"{mailbox.local_part}@{mailbox.domain}", utf8=True)
    if value.isascii() and "(" not in value and "=?" not in value and '"' not in value:
        theirs = email.utils.getaddresses([re.sub(r"\r?\n(?=[ \t])", "", value)])
        ours = [(m.local_part, m.domain.name) for m in mailboxes]
        assert [
            (a.rpartition("@")[0], a.rpartition("@")[2].lower()) for _, a in theirs
        ] == ours


# --- messages ------------------------------------------------------------------------
def header(octets):
    """Header checks and what is stripped, against the plain words of `sound`."""
    content = re.sub(rb"\r\n|\r|\n", b"\r\n", octets).replace(b"\0", b"") + b"\r\n"
    end = header_end(content)
    lines = content.split(b"\r\n")[:-1]
    assert content[:end] == b"".join(line + b"\r\n" for line in header_of(lines))
    for smtputf8 in (False, True):
        defect = check_header(content[:end], "poort.voorbeeld.nl", smtputf8=smtputf8)
        found = header_flaws(lines, smtputf8=smtputf8)
        assert (defect is None) == (not found), (defect, found)
        assert defect is None or (defect.reply.code, defect.reply.enhanced) in found
        if defect is None:
            kept, removed = strip_fields(content[:end])
            assert kept + content[end:] == without_stripped(content)
            assert bool(removed) == (kept != content[:end])


def extract(octets):
    """Whatever it is, it is read; and no more text is kept than the limit."""
    document = read(octets)
    assert sum(len(segment.text) for segment in document.segments) <= 2 * MAX_TEXT
    assert read(octets) == document


def plain_text(octets):
    """A sentence in a plain body is seen, or the message says it could not be read."""
    secret = b"Het burgerservicenummer van Jan"
    body = octets.replace(b"\0", b"")
    message = b"From: jan@gem.nl\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    document = read(message + body + b"\r\n\r\n" + secret + b"\r\n")
    seen = any(secret.decode() in segment.text for segment in document.segments)
    assert seen or document.unreadable


# --- dialogues -------------------------------------------------------------------------
@functools.cache
def bench():
    return Bench()


def dialogue(octets):
    """The first four octets say who calls and where segments are cut; the rest is said."""
    who, cut, every, *_ = octets[:3] + b"\0\0\0"
    lines = octets[3:]
    size = every + 1 if cut & 1 else len(lines) + 1
    pieces = [lines[at : at + size] for at in range(0, len(lines), size)]
    steps = [
        (kind, piece)
        for piece in pieces
        for kind in (("send", "quiet") if cut & 2 else ("send",))
    ]
    at = lines.upper().find(b"STARTTLS\r\n")
    if at >= 0:
        steps = [
            ("send", lines[: at + 10]),
            ("quiet", None),
            ("hello", None),
            ("send", lines[at + 10 :]),
        ]
    listener = (OPEN, STARTTLS, IMPLICIT)[who % 3]
    script = Script(
        0,
        listener,
        ADDRESSES[who % len(ADDRESSES)],
        CERTIFICATE if cut & 4 else None,
        {},
        "accept",
        None,
        65536,
        tuple(steps),
        hurt=True,
    )
    finding = bench().run(script)
    assert finding is None, finding


def data(octets):
    """Content, in segments of every size; then two more commands."""
    size = (octets[:1] or b"\0")[0] + 1
    said = _EHLO + b"DATA\r\n" + octets[1:] + b"\r\n.\r\nNOOP\r\nQUIT\r\n"
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    limits = {"size_octets": 1500}
    script = Script(
        0,
        OPEN,
        "127.0.0.1",
        None,
        limits,
        "accept",
        None,
        65536,
        tuple(("send", each) for each in pieces),
        hurt=True,
    )
    finding = bench().run(script)
    assert finding is None, finding


_ADDRESS_WORDS = [
    b"@",
    b"a",
    b".",
    b"nl",
    b'"',
    b"\\",
    b"<",
    b">",
    b"(",
    b")",
    b",",
    b";",
    b":",
    b" ",
    b"xn--",
    b"-",
    b"gem.nl",
    "\u00e9".encode(),
    b"\xff",
    "\u00df".encode(),
    "\u3002".encode(),
    b"=?utf-8?q?a?=",
    b"\t",
    b"\r\n ",
    b"[127.0.0.1]",
    b"jan@gem.nl",
    b"%",
    b"!",
    b"n" * 64,
]
_PARAMETER_WORDS = [
    b" SIZE=1",
    b" BODY=8BITMIME",
    b"=",
    b" ",
    b" X",
    b"NOTIFY=NEVER",
    b"ENVID=a+2B",
    b"ORCPT=rfc822;a",
    b"<>",
    b"<postmaster>",
    b"<a@b.nl>",
    b" RET=FULL",
    b" REQUIRETLS",
    b" SMTPUTF8",
    b"\x85",
]
_WISH_WORDS = [
    b"NEVER",
    b"SUCCESS",
    b"FAILURE",
    b"DELAY",
    b",",
    b"rfc822;",
    b"utf-8;",
    b"+2B",
    b"+",
    b"\\x{E9}",
    b"a",
    b"=",
    b"\\",
    b"\xc3\xa9",
    b"\xff",
    b"e" * 99,
    b";",
]
_HEADER_WORDS = [
    b"From: jan@gem.nl\r\n",
    b"Subject: x\r\n",
    b"Bcc: a\r\n",
    b"X-Ketenmail-A: b\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"To: a\r\n",
    b"Received: by poort.voorbeeld.nl;\r\n",
    b"Resent-Bcc:\r\n x\r\n",
    b"\x01",
    b"\xff",
    b"x",
]
_MIME_WORDS = [
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Type: text/html; charset=utf-16\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"=?utf-8?b?w6k=?=",
    b"begin 644 a\r\n",
    b"<html>",
    b"<!--",
    b"&#x41;",
    b"charset*0*=utf-8''a",
    b"; name=a.txt",
    b"Content-Disposition: attachment; filename=a.docx\r\n",
    b"=3D",
    b"+AGE-",
    b"\x1b$B",
    b"-----BEGIN PGP MESSAGE-----\r\n",
]
_VERB_WORDS = [
    b"EHLO x\r\n",
    b"HELO x\r\n",
    b"MAIL FROM:<jan@gem.nl>\r\n",
    b"MAIL FROM:<",
    b"RCPT TO:<a@b.nl>\r\n",
    b"RCPT TO:<",
    b">\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"QUIT\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AHNjYW5uZXIAY29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==\r\n",
    b"AUTH LOGIN\r\n",
    b"c2Nhbm5lcg==\r\n",
    b"*\r\n",
    b"BDAT 1\r\n",
    b"\0",
    b"\r",
    b"\n",
    b" SIZE=1",
    b"VRFY a\r\n",
    b"From: jan@gem.nl\r\n\r\n",
]

# By name: what is run, and words that its inputs are made of.
TARGETS = {
    "address": (address, _ADDRESS_WORDS),
    "path": (command_path, _ADDRESS_WORDS + _PARAMETER_WORDS),
    "wishes": (wishes, _WISH_WORDS),
    "author": (author, _ADDRESS_WORDS),
    "header": (header, _HEADER_WORDS),
    "extract": (extract, _HEADER_WORDS + _MIME_WORDS),
    "plain-text": (plain_text, _HEADER_WORDS + _MIME_WORDS),
    "dialogue": (dialogue, _VERB_WORDS + _PARAMETER_WORDS),
    "data": (data, [*_HEADER_WORDS, b".", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\x00"]),
}
