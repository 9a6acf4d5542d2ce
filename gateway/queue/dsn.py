"""Delivery status for programs: the message/delivery-status part of RFC 3464.

It is 7-bit ASCII, so that every receiver can take it: an address outside ASCII stands
there as type `utf-8` in the form utf-8-addr-xtext (RFC 6533 section 3), from which it
can be read back. What the sender named in ENVID and ORCPT comes back (G-12, A-26), but
for an ORCPT that in this form is too long for a line.

Which notices a sender wants (NOTIFY, RFC 3461 section 4.1) is decided here too:

- NEVER: no notice of ours about that recipient, whatever happens to it, a hold and a
  refusal after acceptance included. Evidence says all of it, and that nobody was told.
- FAILURE: failed, refused, hold expired. DELAY: delayed. Either of them: held.
- SUCCESS: relayed, when the hop does not offer DSN. Never "delivered": that the next
  hop accepted is all that we see (INV-7).
- Nothing said: all but SUCCESS.

Wishes are the sender's: about mail without one (the null reverse-path) a notice goes to
the municipality's own mailbox, and NOTIFY does not stop or ask for that.

RET is passed on and never heeded here: our notices return header fields only (G-12),
which RFC 3461 section 4.3 leaves to who writes them.
"""

import dataclasses
import datetime
import email.utils
import enum

from gateway.delivery import xtext
from gateway.model.address import Mailbox
from gateway.model.job import Job
from gateway.model.message import NO_RECIPIENT_WISH, Notify, RecipientWish
from gateway.model.reply import RemoteReply
from gateway.texts import render

MAX_LINE = 998  # octets of any line of a notice, CR LF not counted (RFC 5322 2.1.1)
_MAX_DIAGNOSIS = 400


class Action(enum.Enum):
    """The `Action` field of RFC 3464 section 2.3.3 that we use."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"


@dataclasses.dataclass(frozen=True, slots=True)
class NoticeLine:
    """What the notice says of one recipient; `action` None: it goes, or went, well."""

    mailbox: Mailbox
    action: Action | None
    status: str  # enhanced status, e.g. "5.7.10"
    reason: render.Explained
    reply: RemoteReply | None = None
    remote_host: str | None = None
    diagnosis: str | None = None  # ours, where the hop said nothing
    orcpt: str | None = None  # as it came with RCPT


def wish_of(job: Job, mailbox: Mailbox) -> RecipientWish:
    """What the sender wished for a recipient; nothing when there is no sender."""
    if job.reverse_path.is_null:
        return NO_RECIPIENT_WISH
    wishes = (r.wish for r in job.recipients if r.mailbox == mailbox)
    return next(wishes, NO_RECIPIENT_WISH)


def is_wanted(wish: RecipientWish, *events: Notify) -> bool:
    """Whether a sender wants to hear of one of these events (RFC 3461 section 4.1)."""
    if wish.notify is None:
        return bool({Notify.FAILURE, Notify.DELAY} & set(events))
    return not wish.notify.isdisjoint(events)


def status_part(
    lines: tuple[NoticeLine, ...],
    hostname: str,
    accepted_at: datetime.datetime,
    envid: str | None,
    until: datetime.datetime | None,
) -> str:
    """The text of the part: fields of the message, then of each recipient.

    Args:
        lines: What is said of whom; those without an action are left out.
        hostname: The reporting MTA.
        accepted_at: When the message came in.
        envid: The sender's name for the transaction, in xtext.
        until: When we give up; for delayed recipients.

    Source: RFC 3464 section 2.
    """
    message = [f"Reporting-MTA: dns; {hostname}"]
    if envid is not None:
        message.insert(0, f"Original-Envelope-Id: {xtext.decoded(envid)}")
    message.append(f"Arrival-Date: {email.utils.format_datetime(accepted_at)}")
    groups = [message]
    groups += [
        _recipient_fields(line, line.action, until)
        for line in lines
        if line.action is not None
    ]
    return "\r\n\r\n".join("\r\n".join(group) for group in groups) + "\r\n"


def _recipient_fields(
    line: NoticeLine, action: Action, until: datetime.datetime | None
) -> list[str]:
    fields = []
    if line.orcpt is not None:
        original = f"Original-Recipient: {_original(line.orcpt)}"
        # No white space to fold at. The field may be left out; half of it would be a
        # lie.
        fields += [original] if len(original) <= MAX_LINE else []
    fields += [
        f"Final-Recipient: {_address(str(line.mailbox))}",
        f"Action: {action.value}",
        f"Status: {line.status}",
    ]
    if line.remote_host is not None:
        fields.append(f"Remote-MTA: dns; {line.remote_host}")
    if line.reply is not None:
        enhanced = f" {line.reply.enhanced}" if line.reply.enhanced else ""
        text = line.reply.text[:_MAX_DIAGNOSIS]
        fields.append(f"Diagnostic-Code: smtp; {line.reply.code}{enhanced} {text}")
    elif line.diagnosis is not None:
        ours = line.diagnosis.strip()[:_MAX_DIAGNOSIS]
        fields.append(f"Diagnostic-Code: x-ketenmail; {ours}")
    if action is Action.DELAYED and until is not None:
        fields.append(f"Will-Retry-Until: {email.utils.format_datetime(until)}")
    return fields


def _address(address: str) -> str:
    if address.isascii():
        return f"rfc822; {address}"
    return f"{xtext.UTF8}; {xtext.utf8_address(address)}"


def _original(orcpt: str) -> str:
    """ORCPT as RFC 3464 section 2.3.1 wants it; type utf-8 keeps its own encoding."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() == xtext.UTF8:
        return f"{kind}; {xtext.embedded(address)}"
    return f"{kind}; {xtext.decoded(address)}"
