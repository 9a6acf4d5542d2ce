"""Messages out of files: one message (.eml), or a mailbox of many (mbox)."""

import contextlib
import datetime
import email.utils
import mailbox
import pathlib
import re
from collections.abc import Iterator

from gateway.extract.entity import parse_entity, with_line_ends

_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
_START = b"From "


def messages_of(path: pathlib.Path) -> Iterator[bytes]:
    """The messages in a file, each with the octets and line ends that it has there.

    In an mbox the line that separates messages goes, and one `>` of `>From ` does: the
    program that wrote the file put both there.

    Raises:
        OSError: When the file cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(len(_START))
    if first != _START:
        yield path.read_bytes()
        return
    # Opened for reading first: `mailbox` would make or lock what it cannot find.
    box = mailbox.mbox(path, create=False)
    with contextlib.closing(box):
        for key in box.iterkeys():
            yield _ESCAPED.sub(rb"\1", box.get_bytes(key))


def day_of(octets: bytes, today: datetime.date) -> datetime.date:
    """The day (UTC) that a message was written on, by its Date field.

    Today, when there is none that can be, or it lies in the future.
    """
    header = parse_entity(with_line_ends(octets))
    try:
        at = email.utils.parsedate_to_datetime(header.first("date") or "")
        day = at.astimezone(datetime.UTC).date()
    except (ValueError, OverflowError):
        return today
    return min(day, today)
