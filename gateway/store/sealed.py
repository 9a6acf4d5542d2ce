"""Sealing: AES-256-GCM, a fresh random key for each thing, wrapped by an epoch key.

A key seals exactly once, so its nonces are constants: zero for a row, the chunk's
number for content. What a ciphertext is and whose (`label`) is associated data: a row
copied to another id, or a chunk moved, dropped or put last, does not open (R11).
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.model.errors import TemporaryFailure
from gateway.model.ids import MunicipalityId
from gateway.ports import KeyWrapper

CHUNK_OCTETS = 64 * 1024
TAG_OCTETS = 16
CONTENT = "content"  # the retention class of messages and jobs
_KEY_OCTETS = 32
_NONCE = bytes(12)


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """A fresh key, and the form in which it may be stored."""

    plain: bytes = dataclasses.field(repr=False)
    epoch: str
    wrapped: bytes = dataclasses.field(repr=False)

    @classmethod
    def fresh(
        cls, keys: KeyWrapper, municipality: MunicipalityId, retention_class: str
    ) -> "Key":
        """A new random key under the present epoch key of that class."""
        plain = os.urandom(_KEY_OCTETS)
        epoch, wrapped = keys.wrap(municipality, retention_class, plain)
        return cls(plain, epoch, wrapped)


def label(kind: str, municipality: str, identity: str) -> bytes:
    """What a ciphertext belongs to; no part can hold the separator's octet 0."""
    return f"ketenmail\0{kind}\0{municipality}\0{identity}".encode()


def seal(key: Key, name: bytes, octets: bytes) -> bytes:
    """Seal one row; the key must never seal anything else."""
    return AESGCM(key.plain).encrypt(_NONCE, octets, name)


def unseal(plain_key: bytes, name: bytes, sealed: bytes) -> bytes:
    """What was sealed under that label.

    Raises:
        TemporaryFailure: When key, label or ciphertext are not those of the sealing.
    """
    try:
        return AESGCM(plain_key).decrypt(_NONCE, sealed, name)
    except InvalidTag as error:
        raise TemporaryFailure("store: a sealed row does not open") from error


class Sealer:
    """Seals content that comes in pieces; each chunk is 64 KiB and a tag.

    The last chunk may be shorter; content without any octet is one empty chunk.
    """

    def __init__(self, key: Key, name: bytes) -> None:
        """Begin.

        Args:
            key: A fresh key, for this content only.
            name: The label of the message.
        """
        self._cipher = AESGCM(key.plain)
        self._name = name
        self._index = 0
        self._rest = b""

    def add(self, octets: bytes) -> Iterator[bytes]:
        """Take a piece; the chunks that are complete, and certainly not the last."""
        view = memoryview(self._rest + octets if self._rest else octets)
        at = 0
        while len(view) - at > CHUNK_OCTETS:
            yield self._seal(view[at : at + CHUNK_OCTETS], last=False)
            at += CHUNK_OCTETS
        self._rest = bytes(view[at:])

    def finish(self) -> bytes:
        """The last chunk."""
        return self._seal(self._rest, last=True)

    def _seal(self, chunk: bytes | memoryview, *, last: bool) -> bytes:
        nonce, data = _of_chunk(self._name, self._index, last)
        self._index += 1
        return self._cipher.encrypt(nonce, chunk, data)


def seal_chunks(key: Key, name: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Seal content that is there already; see `Sealer`."""
    sealer = Sealer(key, name)
    for piece in pieces:
        yield from sealer.add(piece)
    yield sealer.finish()


def open_chunks(
    plain_key: bytes, name: bytes, chunks: Iterable[bytes | memoryview]
) -> Iterator[bytes]:
    """The content again, chunk by chunk.

    Raises:
        TemporaryFailure: When a chunk is changed, out of order, or the last is missing.
    """
    cipher = AESGCM(plain_key)
    rest = iter(chunks)
    present: bytes | memoryview = next(rest, b"")
    for index in itertools.count():
        following = next(rest, None)
        nonce, data = _of_chunk(name, index, following is None)
        try:
            yield cipher.decrypt(nonce, present, data)
        except InvalidTag as error:
            raise TemporaryFailure("store: sealed content does not open") from error
        if following is None:
            return
        present = following


def split_chunks(octets: bytes) -> Iterator[memoryview]:
    """Sealed content as one run of octets, cut at the ends of its chunks."""
    step = CHUNK_OCTETS + TAG_OCTETS
    view = memoryview(octets)
    return (view[start : start + step] for start in range(0, len(view), step))


def _of_chunk(name: bytes, index: int, last: bool) -> tuple[bytes, bytes]:
    """Nonce and associated data of a chunk; both say number and whether it is last."""
    place = index.to_bytes(11, "big") + bytes([last])
    return place, name + b"\0" + place
