"""What the malware scanner said of a message (R18, BIO2 8.07.04)."""

import dataclasses
import enum


class ScanFault(enum.Enum):
    """Why a message was not scanned."""

    UNREACHABLE = "unreachable"  # nobody took the connection: it was given nothing
    LOST = "lost"  # the connection ended without a whole answer
    TIMEOUT = "timeout"  # no connection, or no answer, in time
    TOO_LARGE = "too-large"  # it takes no message of this size
    ERROR = "error"  # it answered something else than clean or infected

    @property
    def is_silence(self) -> bool:
        """Whether nobody is there to scan any message.

        Anything else may be the work of this message or its sender, who could choose
        by it to go unscanned: what kills the scanner, what takes it too long, or so
        much at once that it takes no connection in time.
        """
        return self is ScanFault.UNREACHABLE


@dataclasses.dataclass(frozen=True, slots=True)
class Clean:
    """The scanner saw all of it and found nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Infected:
    """Malware; `name` is what the scanner calls it: short, printable ASCII."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Unscanned:
    """Nobody knows: never to be taken for clean."""

    fault: ScanFault


Scan = Clean | Infected | Unscanned


def word_of(scan: Scan | None) -> str:
    """The word for evidence; `off` where no scanner is set up."""
    match scan:
        case Clean():
            return "clean"
        case Infected():
            return "infected"
        case Unscanned():
            return "no"
        case None:  # pragma: no branch
            return "off"
