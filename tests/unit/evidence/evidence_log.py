"""A small log of real records, signed with a real key made for the test."""

import dataclasses
import datetime
import hashlib
import itertools
import pathlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.evidence import bundle, checkpoint, encode, tree
from gateway.model import record
from gateway.model.ids import Digest, MessageId, MunicipalityId, RecordId

ORIGIN = "gw.example.test/utrecht"
VERIFIER = pathlib.Path(encode.__file__).with_name("verify.py")


class Signer:
    """A checkpoint signer whose key lives as long as the test."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        self.name = name
        self.public_key = self._key.public_key().public_bytes_raw()

    @property
    def key(self) -> str:
        return checkpoint.format_key(self.name, self.public_key)

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


def secrets(seed: str):
    """Different octets at each call, the same in each run."""
    numbers = itertools.count()
    return lambda: hashlib.sha256(f"{seed}/{next(numbers)}".encode()).digest()


def intent(number: int) -> record.Record:
    return record.Intent(
        id=RecordId(f"r{number:04}"),
        at=datetime.datetime(2026, 3, 1, 12, 0, number % 60, tzinfo=datetime.UTC),
        municipality=MunicipalityId("utrecht"),
        message=MessageId("m0001") if number % 2 else None,
        policy=Digest("ab" * 32),
        job=f"j{number}",
        attempt=number,
        hop=(("host", "mx.partner.test"), ("port", 25)),
        recipients=((("address", f"piet{number}@partner.test"),),),
    )


@dataclasses.dataclass
class Log:
    """Leaves, openings and a signer; checkpoints and bundles on demand."""

    signer: Signer
    encoded: list[encode.Encoded]

    @property
    def hashes(self) -> list[bytes]:
        return [tree.leaf_hash(each.leaf) for each in self.encoded]

    def note(self, size: int | None = None) -> str:
        size = len(self.encoded) if size is None else size
        root = tree.root(self.hashes[:size])
        head = checkpoint.Checkpoint(self.signer.name, size, root)
        return checkpoint.sign_note(head, self.signer)

    def range(self, first: int, past: int, size: int | None = None) -> bundle.Range:
        size = len(self.encoded) if size is None else size
        entries = tuple(bundle.Entry(e.leaf, e.openings) for e in self.encoded)
        proof = tree.range_proof(self.hashes, first, past, size)
        return bundle.Range(first, entries[first:past], proof)

    def earlier(self, size: int) -> bundle.Earlier:
        proof = tree.consistency_proof(self.hashes, size, len(self.encoded))
        return bundle.Earlier(self.note(size), proof)

    def bundle(self, *ranges: bundle.Range, **changes) -> bytes:
        given = {
            "note": self.note(),
            "key": self.signer.key,
            "ranges": ranges or (self.range(0, len(self.encoded)),),
            "verifier": VERIFIER.read_bytes(),
        }
        return bundle.build_bundle(**(given | changes))


def make_log(count: int, seed: bytes = b"log") -> Log:
    encoded = [
        encode.encode(
            intent(number),
            origin=ORIGIN,
            software="ketenmail/0.1.0",
            secret=secrets(f"{seed!r}{number}"),
        )
        for number in range(count)
    ]
    return Log(Signer(ORIGIN, seed), encoded)
