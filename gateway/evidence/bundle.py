"""A bundle: all that somebody needs to verify evidence offline, in one ZIP (F-05, R12).

It promises: the same contents give the same octets; each record stands in it as exactly
the octets that the tree holds; there is no octet that the verifier does not look at. A
bundle proves ranges of the log complete: one range for a period, several short ones for
the records of one message.

Which records and which openings a reader may have is for others; so is the writing of
the export's own evidence. The format is in docs/evidence-format.md.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import rfc8785

from gateway.evidence.checkpoint import parse_checkpoint, parse_note
from gateway.evidence.tree import Proof
from gateway.evidence.verify import FORMAT, pack
from gateway.model.errors import EvidenceError

_MOST_OCTETS = 2**32 - 2**20  # ZIP has 32 bits for sizes; some are for the directory

README = """\
BEWIJSBUNDEL VAN KETENMAIL

Deze bundel bevat bewijsrecords uit het log van een mailgateway van een gemeente, en
wat nodig is om zonder netwerk en zonder de gateway na te gaan dat zij echt en volledig
zijn.

Zo controleert u haar (Python 3.10 of nieuwer, met het pakket "cryptography"):

    python3 verify.py BUNDEL.zip --key SLEUTEL

SLEUTEL is de publieke sleutel van het log, of de vingerafdruk daarvan. Haal die en
verify.py NIET uit deze bundel, maar bij de gemeente, uit een eerdere toetsing of van de
plaats waar Ketenmail wordt uitgegeven: wie een bundel vervalst, kan ook die vervalsen.
Slaagt de toetsing, dan staat elk record zo in het ondertekende log en ontbreekt er geen
in de genoemde reeksen. Zij toont wie het log ondertekende, niet dat wat het systeem
waarnam waar is; "delivered" betekent dat de volgende mailserver de
verantwoordelijkheid overnam, niet dat iemand het bericht las. Tijdstempels van derden
worden hier niet gecontroleerd.

records.jsonl   de records; wat persoonlijk is staat er alleen als vastlegging (HMAC) in
openings.jsonl  de waarden die deze lezer mag zien, elk met haar sleutel
checkpoint.txt  de ondertekende stand van het log

EVIDENCE BUNDLE OF KETENMAIL

This bundle has evidence records from the log of a municipality's mail gateway, and what
is needed to check, without a network and without the gateway, that they are genuine and
complete.

How to check it (Python 3.10 or later, with the package "cryptography"):

    python3 verify.py BUNDLE.zip --key KEY

KEY is the public key of the log, or its fingerprint. Do NOT take it or verify.py from
this bundle, but from the municipality, an earlier check or the place where Ketenmail is
published: who forges a bundle can forge those too. When the check passes, each record
stands like this in the signed log, and none is missing from the ranges named. The check
says who signed the log, not whether what the system observed is true; "delivered" means
that the next mail server took responsibility, not that anybody read the message.
Time-stamps of third parties are not checked here.

records.jsonl   the records; what is personal is there only as a commitment (HMAC)
openings.jsonl  the values that this reader may see, each with its key
checkpoint.txt  the signed state of the log
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One record: the octets of its leaf, and the openings the reader may have."""

    leaf: bytes
    openings: bytes | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Records without a gap, from index `first`, with their `tree.range_proof`."""

    first: int
    entries: tuple[Entry, ...]
    proof: Proof

    @property
    def past(self) -> int:
        """One past the last index."""
        return self.first + len(self.entries)


@dataclasses.dataclass(frozen=True, slots=True)
class Earlier:
    """A checkpoint the reader may know, and the consistency proof from there."""

    note: str
    proof: Proof


def build_bundle(
    *,
    note: str,
    key: str,
    ranges: Sequence[Range],
    verifier: bytes,
    earlier: Earlier | None = None,
) -> bytes:
    """Put a bundle together.

    Args:
        note: The signed checkpoint for which the proofs were made.
        key: The verifier key of the log.
        ranges: At least one, ascending and apart. A period is one range, also when it
            is empty; the records of one message are ranges of one or more.
        verifier: The octets of `gateway/evidence/verify.py`.
        earlier: An earlier checkpoint of the same log with its consistency proof.

    Returns:
        The octets of the ZIP.

    Raises:
        EvidenceError: When the ranges are none, overlap or go past the checkpoint. That
            proofs and signatures hold is for the verifier, which the caller may run.
    """
    checkpoint = parse_checkpoint(parse_note(note).text)
    edges = [edge for each in ranges for edge in (each.first, each.past)]
    if not edges or [0, *edges, checkpoint.size] != sorted(
        [0, *edges, checkpoint.size]
    ):
        raise EvidenceError("a bundle needs ranges that ascend within its checkpoint")
    numbered = [
        (each.first + offset, entry)
        for each in ranges
        for offset, entry in enumerate(each.entries)
    ]
    opened = [
        _line({"fields": json.loads(entry.openings), "index": index})
        for index, entry in numbered
        if entry.openings is not None
    ]
    manifest = {
        "counts": {"openings": len(opened), "records": len(numbered)},
        "earlier": None if earlier is None else _size(earlier.note),
        "format": FORMAT,
        "key": key,
        "origin": checkpoint.origin,
        "ranges": [[each.first, each.past] for each in ranges],
        "size": checkpoint.size,
    }
    files = {
        "README.txt": README.encode(),
        "checkpoint.txt": note.encode(),
        "manifest.json": rfc8785.dumps(manifest),
        "openings.jsonl": b"".join(opened),
        "proof.json": rfc8785.dumps({"ranges": [_hex(r.proof) for r in ranges]}),
        "records.jsonl": b"".join(entry.leaf + b"\n" for _, entry in numbered),
        "verify.py": verifier,
    }
    if sum(map(len, files.values())) > _MOST_OCTETS:
        raise EvidenceError("the bundle is too large: choose a shorter range")
    if earlier is not None:
        files["earlier-checkpoint.txt"] = earlier.note.encode()
        files["consistency.json"] = rfc8785.dumps({"hashes": _hex(earlier.proof)})
    return pack(files)


def _size(note: str) -> int:
    return parse_checkpoint(parse_note(note).text).size


def _hex(proof: Proof) -> list[Any]:
    return [each.hex() for each in proof]


def _line(value: dict[str, Any]) -> bytes:
    return rfc8785.dumps(value) + b"\n"
