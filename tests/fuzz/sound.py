"""Which content may be accepted, line by line: the requirements once more, plainly.

Slow and simple on purpose, so that it is another way to the same answer than the
server's searches over blocks (A-10, A-20, A-40 ... A-44).
"""

import itertools
import re

ONCE = {
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"bcc",
    b"message-id",
    b"date",
    b"subject",
    b"content-type",
    b"content-transfer-encoding",
    b"mime-version",
    b"in-reply-to",
    b"references",
}
FORM, NEWLINE, LONG, UTF8 = (
    (550, "5.6.0"),
    (554, "5.5.2"),
    (554, "5.6.0"),
    (553, "5.6.7"),
)
BIG, LOOP, SECRET = (
    (552, "5.3.4"),
    (554, "5.4.6"),
    re.compile(rb"(?i)(?:resent-)?bcc|x-ketenmail(?:-.*)?"),
)


def flaws(content, size_octets, line_octets, *, smtputf8=False, filed=False):
    """The replies of which one is due, for content as sent; empty when it is sound.

    Args:
        content: Stuffed, its last CR LF included, the final dot not.
        size_octets: The limit of the whole, unstuffed.
        line_octets: The limit of a line, unstuffed.
        smtputf8: Whether MAIL said so.
        filed: It may go to the disk as it comes; then its header is looked at first,
            and what follows a faulty one is not.
    """
    found = set()
    lines = content.split(b"\r\n")
    if lines.pop() != b"":
        found.add(NEWLINE)  # the end of the content is a CR LF by its final dot
    lines = [line[1:] if line[:1] == b"." else line for line in lines]
    if any(b"\r" in line or b"\n" in line for line in lines):
        found.add(NEWLINE)
    if any(b"\0" in line for line in lines):
        found.add(FORM)
    if any(len(line) > line_octets for line in lines):
        found.add(LONG)
    if sum(len(line) + 2 for line in lines) > size_octets:
        found.add(BIG)
    if found and not filed:
        return found
    return found | header_flaws(lines, smtputf8=smtputf8)


def header_of(lines):
    """The lines of the header."""
    return lines[: lines.index(b"")] if b"" in lines else lines


def header_flaws(lines, *, smtputf8):
    header = header_of(lines)
    names = []
    found = set()
    if not smtputf8 and not b"".join(header).isascii():
        found.add(UTF8)
    for at, line in enumerate(header):
        if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", line):
            found.add(FORM)
        if line[:1] in {b" ", b"\t"}:
            if at == 0 or not line.strip(b" \t"):
                found.add(FORM)
            continue
        name, colon, _ = line.partition(b":")
        if not colon or not re.fullmatch(rb"[!-9;-~]+", name):
            found.add(FORM)
        names.append(name.lower())
    if names.count(b"from") != 1 or any(names.count(name) > 1 for name in ONCE):
        found.add(FORM)
    own = sum(map(is_own_hop, re.split(rb"\r\n(?![ \t])", b"\r\n".join(header))))
    if names.count(b"received") >= 100 or own >= 5:
        found.add(LOOP)
    return found


def is_own_hop(field):
    """Whether this is a trace field that says that we received it."""
    words = re.sub(rb"\([^()]*\)", b" ", field).split()
    if not field.lower().startswith(b"received:"):
        return False
    for word, after in itertools.pairwise(words):
        name = re.match(rb"[^;()]*", after)[0].lower()
        if word.lower() == b"by" and name:
            return name == b"poort.voorbeeld.nl"
    return False


def without_stripped(plain):
    """What of sound content is kept (A-44)."""
    lines = plain.split(b"\r\n")
    header = header_of(lines[:-1])
    kept, dropping = [], False
    for line in header:
        if line[:1] not in {b" ", b"\t"}:
            dropping = SECRET.fullmatch(line.partition(b":")[0]) is not None
        if not dropping:
            kept.append(line)
    return b"\r\n".join(kept + lines[len(header) :])
