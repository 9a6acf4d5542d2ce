"""What a recipient could read of a message: text segments, each with its place."""

import dataclasses

from gateway.model.address import Mailbox


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """One run of text.

    `place` is e.g. `subject`, `body/1`, `html/2`, `hidden/2`, `attachment:plan.docx`,
    `filename/3`, `header:comments`. `text` is as decoded, not yet normalised.
    """

    place: str
    text: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class UnreadablePart:
    """A part that can carry text and could not be read (R2): never harmless."""

    place: str  # as Segment.place; holds no content, file names are reduced to the type
    reason: str  # one of: encrypted, unknown-format, parser-failure, limit, charset


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """All that was read, and what could not be read.

    `authors` are the mailboxes of From, Sender and Resent-From/-Sender (A-46);
    `authors_faulty` says that those fields could not be read without doubt (no From,
    more than one, a form outside our grammar). `message_id` is the Message-ID field
    when there is exactly one. `auto_submitted` is RFC 3834.
    """

    segments: tuple[Segment, ...]
    unreadable: tuple[UnreadablePart, ...] = ()
    authors: tuple[Mailbox, ...] = ()
    authors_faulty: bool = False
    message_id: str | None = dataclasses.field(default=None, repr=False)
    auto_submitted: bool = False
