"""Which addresses take copies, and what the client is told of a copy (R3)."""

import dataclasses

from gateway.model.address import Domain, Mailbox
from gateway.model.reply import Reply

_LOCAL_PART = "shadow"

COUNTED = Reply(250, "2.0.0", ("Counted, not sent: this client is in shadow mode",))
# A copy that cannot be taken in for what it holds. Refused, it would be returned to
# whoever wrote the mail, who knows nothing of copies.
SPOILED = Reply(
    250,
    "2.0.0",
    ("Counted, not sent: this client is in shadow mode; refused for its form",),
)
NO_COPY = Reply(
    451,
    "4.3.5",
    (
        "Niet verzonden: deze client geeft alleen kopieen af (mode = shadow).",
        "Not sent: this client is in shadow mode and hands over copies only.",
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class CopyAddresses:
    """The addresses that take copies of one client, and are nobody's mailbox.

    All of our own name, for no mail is for us, and `shadow@` the client's domains. At
    any other domain that is somebody's mailbox like any other.
    """

    hostname: Domain  # ours
    domains: frozenset[Domain]  # that the client sends for

    def __contains__(self, mailbox: Mailbox) -> bool:
        if mailbox.domain == self.hostname:
            return True
        is_named = mailbox.local_part.lower() == _LOCAL_PART
        return is_named and mailbox.domain in self.domains
