"""Content as octets: small ones in memory, large ones kept and read by chunks.

A large message never lives in memory as a whole but where somebody must look at all of
it, and that is one at a time (`extract`). Everywhere else these functions are used.
"""

import hmac
import io
from collections.abc import Iterator
from typing import Protocol

CHUNK_OCTETS = 64 * 1024
# Over what a header can be: 256 KiB that intake accepts, and our own field.
HEAD_OCTETS = 320 * 1024


class Kept(Protocol):
    """Octets that are not in memory."""

    @property
    def size_octets(self) -> int:
        """How many they are."""
        ...

    @property
    def head(self) -> bytes:
        """The beginning: the whole header and something behind it, at least."""
        ...

    async def keyed_digest(self, key: bytes) -> str:
        """See `keyed_digest`; reads them beside the event loop."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """All of them, in order, at most 64 KiB at a time; reads a disk.

        Raises:
            TemporaryFailure: When they cannot be read, or are not what was kept.
        """
        ...


Octets = bytes | Kept


def size_of(octets: Octets) -> int:
    """How many octets there are."""
    return len(octets) if isinstance(octets, bytes) else octets.size_octets


def chunks_of(octets: Octets) -> Iterator[bytes]:
    """The octets in order, at most 64 KiB at a time."""
    if not isinstance(octets, bytes):
        return octets.chunks()
    starts = range(0, len(octets), CHUNK_OCTETS)
    return (octets[at : at + CHUNK_OCTETS] for at in starts)


def head_of(octets: Octets) -> bytes:
    """The beginning: the whole header and something behind it, at least; or all."""
    return octets if isinstance(octets, bytes) else octets.head


def whole_of(octets: Octets) -> bytes:
    """All octets in memory; for who must have them so, one message at a time."""
    if isinstance(octets, bytes):
        return octets
    whole = io.BytesIO()  # grows in place, where joining would take them twice
    for chunk in octets.chunks():
        whole.write(chunk)
    return whole.getvalue()


async def keyed_digest(octets: Octets, key: bytes) -> str:
    """HMAC-SHA-256 under a key of 32 octets, hexadecimal (F-08)."""
    if isinstance(octets, bytes):
        return hmac.digest(key, octets, "sha256").hex()
    return await octets.keyed_digest(key)
