"""The client side of SMTP without I/O: octets in, replies out; commands out as octets.

Theory: a `Dialogue` counts what it asked and what was answered. One batch of commands
is outstanding at a time, and a batch may only go out when nothing unread is left, so a
forged or surplus reply can never be taken for the answer to a later question (B-31; a
stale `250` in the buffer would otherwise pass for the reply to the final dot, INV-7).

Replies are bounded: line, number of lines, one code, 2xx to 5xx (B-37). What a peer
sent before it broke the rules still counts: a complete reply is definite (B-51). A bare
LF ends a line too; text is reduced to printable ASCII before anybody sees it.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.delivery import xtext
from gateway.model.address import AddressError, Mailbox
from gateway.model.errors import GatewayError
from gateway.model.message import (
    NO_MESSAGE_WISH,
    NO_RECIPIENT_WISH,
    MessageWish,
    Notify,
    RecipientWish,
)
from gateway.model.reply import RemoteReply

MAX_LINE_OCTETS: Final = 4096
MAX_LINES: Final = 200
MAX_TEXT: Final = 2000
_REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")
# Controls, line separators and half characters; what else UTF-8 has is only characters
# (RFC 6531 section 3.3), also those that no screen shows.
_BREAKS_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_PRINTABLE = re.compile(rb"[^ -~]")


class HopGarbage(GatewayError):  # noqa: N818 - the field's word
    """The hop broke the rules of the dialogue: close, and defer."""


class Unsendable(GatewayError):  # noqa: N818
    """What we were to send would break the dialogue; the text names no address."""


@dataclasses.dataclass(frozen=True, slots=True)
class HopReply:
    """One complete reply: one code, at least one line of printable ASCII."""

    code: int
    lines: tuple[str, ...]

    @property
    def kind(self) -> int:
        """The first digit: 2 done, 3 go on, 4 not now, 5 never."""
        return self.code // 100

    def remote(self) -> RemoteReply:
        """As kept in evidence: the enhanced status apart from the text (RFC 2034)."""
        found = _ENHANCED.match(self.lines[0])
        enhanced = found[1] if found and found[1][0] == str(self.kind) else None
        prefix = f"{enhanced} "
        texts = (f"{line} ".removeprefix(prefix).strip() for line in self.lines)
        return RemoteReply(self.code, enhanced, " / ".join(texts)[:MAX_TEXT])


class ReplyParser:
    """Octets to replies; after the first fault it reads no more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code: int | None = None
        self._lines: list[str] = []
        self.fault: HopGarbage | None = None

    @property
    def is_between_replies(self) -> bool:
        """Whether no octet of an unfinished reply has come."""
        return not self._buffer and not self._lines and self.fault is None

    def feed(self, data: bytes) -> tuple[HopReply, ...]:
        """Take octets in any portions; answer the replies that are now complete.

        A fault does not raise here: it is kept in `fault`, and what was complete before
        it is answered.
        """
        replies: list[HopReply] = []
        if self.fault is not None:
            return ()
        self._buffer += data
        try:
            while (line := self._cut_line()) is not None:
                reply = self._take_line(line)
                if reply is not None:
                    replies.append(reply)
        except HopGarbage as fault:
            self.fault = fault
            self._buffer.clear()
        return tuple(replies)

    def _cut_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, MAX_LINE_OCTETS)
        if end < 0:
            if len(self._buffer) >= MAX_LINE_OCTETS:
                raise HopGarbage(f"a reply line is over {MAX_LINE_OCTETS} octets")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _take_line(self, line: bytes) -> HopReply | None:
        parts = _REPLY_LINE.match(line)
        if parts is None:
            raise HopGarbage("a line is no SMTP reply")
        code = int(parts[1])
        if self._code not in {None, code}:
            raise HopGarbage("a reply has two codes")
        self._code = code
        self._lines.append(_NOT_PRINTABLE.sub(b"?", parts[3] or b"").decode("ascii"))
        if parts[2] != b"-":
            reply = HopReply(code, tuple(self._lines))
            self._code, self._lines = None, []
            return reply
        if len(self._lines) >= MAX_LINES:
            raise HopGarbage(f"a reply has over {MAX_LINES} lines")
        return None


class Dialogue:
    """One connection's questions and answers, from the greeting to the final dot."""

    def __init__(self) -> None:
        self._parser = ReplyParser()
        self._replies: collections.deque[HopReply] = collections.deque()
        self._awaited = 1  # the greeting
        self._surplus: HopGarbage | None = None
        self.capabilities: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Take octets from the hop."""
        self._replies.extend(self._parser.feed(data))
        if len(self._replies) > self._awaited:
            while len(self._replies) > self._awaited:
                self._replies.pop()
            self._surplus = HopGarbage("the hop spoke without being asked")

    @property
    def fault(self) -> HopGarbage | None:
        """What the hop did wrong, if it did; the connection is of no more use."""
        return self._surplus or self._parser.fault

    def take(self) -> HopReply | None:
        """The next reply, or None when it has not come yet.

        Raises:
            HopGarbage: When it never will, for the hop broke the rules.
        """
        if self._replies:
            self._awaited -= 1
            return self._replies.popleft()
        if self.fault is not None:
            raise self.fault
        return None

    def learn(self, reply: HopReply) -> None:
        """Remember what the hop offers, from its reply to EHLO; forget what it did."""
        self.capabilities = {}
        for line in reply.lines[1:]:
            keyword, _, parameters = line.partition(" ")
            self.capabilities[keyword.upper()] = parameters.strip()

    def enter_tls(self) -> None:
        """Cross into TLS: nothing said in plaintext counts any more (B-31).

        Raises:
            HopGarbage: When anything is unread: it came in plaintext, and would be read
                as if it had come over TLS.
        """
        self._require_silence()
        self.capabilities = {}

    def ask(self, *commands: bytes) -> bytes:
        """The octets of one batch of commands; each will be answered once.

        Raises:
            HopGarbage: When something unread is left.
        """
        self._require_silence()
        self._awaited = len(commands)
        return b"".join(commands)

    def end_content(self) -> bytes:
        """The final dot. From the moment it is written, a copy may be there (B-51).

        Raises:
            HopGarbage: When the hop spoke during the content.
        """
        return self.ask(b".\r\n")

    def _require_silence(self) -> None:
        if self.fault is not None:
            raise self.fault
        if self._awaited or not self._parser.is_between_replies:
            raise HopGarbage("the hop spoke out of turn")


def ehlo(name: str) -> bytes:
    """The EHLO command."""
    return _line(f"EHLO {name}")


STARTTLS: Final = b"STARTTLS\r\n"
DATA: Final = b"DATA\r\n"
QUIT: Final = b"QUIT\r\n"


def mail(
    reverse_path: str,
    *,
    size_octets: int | None,
    eight_bit: bool,
    smtputf8: bool,
    dsn: MessageWish = NO_MESSAGE_WISH,
    requiretls: bool = False,
) -> bytes:
    """The MAIL command with the parameters that the hop offered and the message needs.

    Args:
        reverse_path: "" for the null reverse-path.
        size_octets: None when the hop does not offer SIZE.
        eight_bit: Whether to say BODY=8BITMIME.
        smtputf8: Whether to say SMTPUTF8.
        dsn: RET and ENVID as they came; for a hop that offers DSN only.
        requiretls: Whether to say REQUIRETLS.

    Raises:
        Unsendable: When address or ENVID would break the command (B-40).
    """
    text = f"MAIL FROM:<{_path(reverse_path, smtputf8=smtputf8)}>"
    if size_octets is not None:
        text += f" SIZE={size_octets}"
    if eight_bit:
        text += " BODY=8BITMIME"
    if smtputf8:
        text += " SMTPUTF8"
    if dsn.ret is not None:
        text += f" RET={dsn.ret.value}"
    if dsn.envid is not None:
        if not xtext.is_envid(dsn.envid):
            raise Unsendable("ENVID is no xtext, or too long")
        text += f" ENVID={dsn.envid}"
    if requiretls:
        text += " REQUIRETLS"
    return _line(text, smtputf8=smtputf8)


def rcpt(
    recipient: Mailbox, *, smtputf8: bool, dsn: RecipientWish = NO_RECIPIENT_WISH
) -> bytes:
    """The RCPT command.

    Args:
        recipient: Who it is for.
        smtputf8: Whether MAIL says SMTPUTF8.
        dsn: NOTIFY and ORCPT as they came; for a hop that offers DSN only. No ORCPT is
            made up where none was given, though RFC 3461 section 5.2.1 (d) permits it.

    Raises:
        Unsendable: When address or ORCPT would break the command (B-40).
    """
    text = f"RCPT TO:<{_path(str(recipient), smtputf8=smtputf8)}>"
    if dsn.notify:
        words = ",".join(word.value for word in Notify if word in dsn.notify)
        text += f" NOTIFY={words}"
    if dsn.orcpt is not None:
        if not xtext.is_orcpt(dsn.orcpt):
            raise Unsendable("ORCPT is no address type and xtext, or too long")
        as_is = smtputf8 and dsn.orcpt.isprintable()
        text += f" ORCPT={dsn.orcpt if as_is else xtext.embedded(dsn.orcpt)}"
    return _line(text, smtputf8=smtputf8)


def _path(text: str, *, smtputf8: bool) -> str:
    """The text again, when it is an address just as it stands.

    Whoever made it, it is read anew here; what would be sent otherwise than it was
    authorised is not sent.
    """
    if not text:
        return text
    try:
        parsed = str(Mailbox.parse(text, smtputf8=smtputf8))
    except (AddressError, UnicodeError) as error:
        raise Unsendable("an envelope address is outside the grammar") from error
    if parsed != text:
        raise Unsendable("an envelope address is not in its one form")
    return parsed


def _line(text: str, *, smtputf8: bool = False) -> bytes:
    if _BREAKS_A_LINE.search(text) or not (smtputf8 or text.isascii()):
        raise Unsendable("a command holds a character that is not allowed")
    return text.encode("utf-8") + b"\r\n"


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content with its dots stuffed, without the final dot (B-39).

    Args:
        chunks: The content in pieces of any size; CRLF line ends only, and one at the
            end; nothing else is changed.

    Yields:
        Complete lines: those that end in the piece.

    Raises:
        Unsendable: For a bare CR or LF, a NUL or an unfinished last line (INV-6): that
            would end the content where the message does not. What came before it was
            yielded; the dot must not follow.

    Source: RFC 5321 4.5.2.
    """
    rest, ended = b"", False
    for chunk in chunks:
        rest += chunk
        cut = rest.rfind(b"\r\n") + 2
        if cut > 1:
            yield _stuffed_lines(rest[:cut])
            rest, ended = rest[cut:], True
    if rest or not ended:
        raise Unsendable("the content ends within a line")


def _stuffed_lines(lines: bytes) -> bytes:
    ends = lines.count(b"\r\n")
    if ends != lines.count(b"\r") or ends != lines.count(b"\n") or b"\0" in lines:
        raise Unsendable("the content has a bare CR, bare LF or NUL")
    first = b"." if lines.startswith(b".") else b""
    return first + lines.replace(b"\r\n.", b"\r\n..")
