"""One message on its way in: its header is looked at, and its octets are put away.

A message is in memory until it is too big for that, or there is no memory left; from
then on it goes into a sealed file as it comes (A-50). Whichever it is, the header is
whole, sound and stripped before anything of it is kept, and nothing else is changed
(INV-5).
"""

import dataclasses
import datetime
from collections.abc import Callable

from gateway.intake import answer
from gateway.intake.header import Defect, check_header, header_end, strip_fields
from gateway.intake.received import format_received
from gateway.model.errors import StoreFull
from gateway.model.ids import MessageId
from gateway.model.message import Body, Envelope, Message, Removed
from gateway.model.octets import Octets
from gateway.model.peer import Peer
from gateway.ports import Draft, Drafts

NO_ROOM = Defect("no-room", answer.STORE_FULL)
_BEHIND_HEADER = 1024  # octets of the body that are kept with the header

# Who hands it over, now that the header is known; or why nobody does.
PeerBy = Callable[[bytes], Peer | Defect]


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    """What every reception needs of the house."""

    hostname: str
    drafts: Drafts
    new_id: Callable[[], str]
    now: Callable[[], datetime.datetime]


@dataclasses.dataclass(frozen=True, slots=True)
class _Begun:
    """What is known of a message once its header was looked at."""

    id: MessageId
    at: datetime.datetime
    peer: Peer
    removed: Removed
    head: bytes


class Reception:
    """One message; `defect` says why it may not be accepted, once that is known."""

    def __init__(self, bench: Bench, envelope: Envelope, peer_by: PeerBy) -> None:
        self._bench = bench
        self._envelope = envelope
        self._peer_by = peer_by
        self._begun: _Begun | None = None
        self._draft: Draft | None = None
        self._ascii = True
        self.defect: Defect | None = None
        self.is_handed_over = False  # to a task of its own, which discards it

    @property
    def is_filed(self) -> bool:
        """Whether it goes to the disk as it comes."""
        return self._draft is not None

    async def file(self, octets: bytes) -> None:
        """Put octets away on the disk; the first ones have the whole header in them.

        What fails is noted as the defect, and nothing is left on the disk.
        """
        octets = octets if self._begun is not None else self._begin(octets)
        begun = self._begun
        if begun is None or self.defect is not None:
            return
        self._ascii = self._ascii and octets.isascii()
        try:
            if self._draft is None:
                owner = begun.peer.municipality
                self._draft = await self._bench.drafts.begin(begun.id, owner)
            await self._draft.write(octets)
        except StoreFull:
            self.defect = NO_ROOM
            self.discard()

    async def finish(self, rest: bytes) -> tuple[Message, Peer] | Defect:
        """The whole message and who handed it over, or what is wrong.

        Args:
            rest: What was not put away; all of it, when nothing was.

        Raises:
            TemporaryFailure: It is not kept.
        """
        if self._draft is not None and rest:
            await self.file(rest)
            rest = b""
        octets = rest if self._begun is not None else self._begin(rest)
        begun = self._begun
        if self.defect is not None:
            return self.defect
        if begun is None:
            raise ValueError("a message without header has a defect")
        self._ascii = self._ascii and octets.isascii()
        body = Body.SEVEN_BIT if self._ascii else Body.EIGHT_BIT  # by looking
        envelope = dataclasses.replace(self._envelope, body=body)
        whole: Octets = octets
        if self._draft is not None:
            whole = await self._draft.finish(begun.head)
        return Message(begun.id, envelope, whole, begun.at, begun.removed), begun.peer

    def discard(self) -> None:
        """Forget what lies on the disk, unless the store took it over."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.discard()

    def _begin(self, octets: bytes) -> bytes:
        """Look at the header; the octets as they are kept, with our own field."""
        end = header_end(octets)
        header = octets[:end]
        utf8 = self._envelope.smtputf8
        defect = check_header(header, self._bench.hostname, smtputf8=utf8)
        peer = self._peer_by(header)
        if isinstance(peer, Defect):
            self.defect = defect or peer
            return b""
        if defect is not None and not peer.shadow:  # a copy is counted, not judged (R3)
            self.defect = defect
            return b""
        kept, removed = strip_fields(header)
        identifier, at = MessageId(self._bench.new_id()), self._bench.now()
        trace = format_received(
            peer,
            self._bench.hostname,
            identifier,
            self._envelope.recipients,
            at,
            smtputf8=utf8,
        )
        head = trace + kept + octets[end : end + _BEHIND_HEADER]
        self._begun = _Begun(identifier, at, peer, removed, head)
        return b"".join((trace, kept, octets[end:]))
