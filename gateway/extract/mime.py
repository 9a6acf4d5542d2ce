"""The door of this room: reads a message without blocking the event loop.

Parsing is pure (`reading.py`) but takes time that grows with the size; a message that
could hold up other sessions is read in a thread. PDF and office formats, which need a
process of their own, come with a later issue: until then they are unreadable parts.
"""

import asyncio

from gateway.extract.reading import read
from gateway.model.document import Document
from gateway.model.message import Message
from gateway.model.octets import whole_of

__all__ = ["MimeExtractor", "read"]

THREAD_FROM_OCTETS = 128 * 1024  # about 3 ms of parsing


class MimeExtractor:
    """Implements `ports.Extractor` for MIME, text and HTML."""

    async def extract(self, message: Message) -> Document:
        """Read all segments; hostile input gives unreadable parts, never an error."""
        octets = message.octets
        if isinstance(octets, bytes) and len(octets) < THREAD_FROM_OCTETS:
            return read(octets)
        return await asyncio.to_thread(lambda: read(whole_of(octets)))
