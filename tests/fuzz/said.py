"""Lines as they were said: replies, credentials, domains; nothing about their order."""

import base64
import binascii
import dataclasses
import re

import idna


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    code: int
    lines: tuple[str, ...]  # without code

    @property
    def enhanced(self):
        return self.lines[0].partition(" ")[0]

    @property
    def both(self):
        return self.code, self.enhanced


class FoulError(Exception):
    """The server broke a rule."""


def read_replies(octets):
    """Replies of a stream; raises for a line that is no line of a reply (A-11)."""
    replies, lines = [], []
    if octets and not octets.endswith(b"\r\n"):
        raise FoulError("a reply without its end of line")
    for line in octets.split(b"\r\n")[:-1]:
        if not re.fullmatch(rb"[2-5][0-9][0-9][ -][ -~]*", line) or len(line) > 510:
            raise FoulError(f"no line of a reply: {line[:60]!r}")
        if b"@" in line:
            raise FoulError("a reply echoes an address")
        lines.append(line.decode("ascii"))
        if line[3:4] == b" ":
            if len({text[:3] for text in lines}) > 1:
                raise FoulError("one reply, several codes")
            replies.append(Reply(int(line[:3]), tuple(text[4:] for text in lines)))
            lines = []
    if lines:
        raise FoulError("a reply without its last line")
    return replies


def is_broken(line):
    """Whether a line, its LF included, ends or holds what it may not (A-40)."""
    return not line.endswith(b"\r\n") or re.search(rb"[\r\n\0]", line[:-2]) is not None


def a_labels(domain):
    """As it is compared and sent: lower case, A-labels (A-25)."""
    if domain.isascii():
        return domain.lower()
    return idna.encode(domain, uts46=True).decode("ascii")


def credentials(mechanism, said):
    """Who the client says to be, and the password; None when it does not say it so."""
    try:
        parts = [_decoded(line) for line in said]
    except binascii.Error:
        return None
    if mechanism == b"PLAIN" and len(parts) == 1:
        pieces = parts[0].split(b"\0")
        if len(pieces) == 3 and pieces[0] in {b"", pieces[1]}:
            return pieces[1], pieces[2]
    elif mechanism == b"LOGIN" and len(parts) == 2:
        return parts[0], parts[1]
    return None


def _decoded(line):
    text = line.removesuffix(b"\r\n")
    if text == b"=":
        return b""
    if not re.fullmatch(
        rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text
    ):
        raise binascii.Error
    return base64.b64decode(text)
