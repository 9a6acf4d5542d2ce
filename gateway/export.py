"""Evidence that leaves: bundles of a whole log, or of one message."""

import dataclasses
import getpass
import hashlib
import importlib.resources
import json
from collections.abc import Iterable

from gateway import clock
from gateway.app import Installation, log_origin
from gateway.evidence.bundle import Entry, Range, build_bundle
from gateway.evidence.checkpoint import format_key
from gateway.evidence.tree import range_proof
from gateway.model.ids import MessageId, MunicipalityId, RecordId
from gateway.model.record import ExportMade
from gateway.store.evidence import SqlEvidence


@dataclasses.dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that is ready to be written."""

    octets: bytes = dataclasses.field(repr=False)
    count: int
    checkpoint_size: int
    key: str


def log_key(installation: Installation, owner: MunicipalityId) -> str:
    """The verifier key of a log: what an auditor keeps apart."""
    signer = installation.keys.signer(log_origin(installation.config, owner))
    return format_key(signer.name, signer.public_key)


async def export_bundle(
    installation: Installation,
    owner: MunicipalityId,
    *,
    message: str | None,
    with_openings: bool,
) -> Exported | None:
    """Build a bundle of a whole log, or of the records of one message.

    The export is itself evidence, before it is handed out.

    Returns:
        None when the log has no checkpoint yet, or none that covers the message.
    """
    evidence = SqlEvidence(installation.store, "export")
    origin = log_origin(installation.config, owner)
    checkpoint = await evidence.latest_checkpoint(origin)
    if checkpoint is None:
        return None
    indexes: Iterable[int] = range(checkpoint.size)
    if message is not None:
        records = await evidence.records_of_message(MessageId(message))
        indexes = sorted(
            record.index
            for record in records
            if record.index is not None
            and record.index < checkpoint.size
            and record.origin == origin
        )
        if not indexes:
            return None
    hashes = await evidence.leaf_hashes(origin, checkpoint.size)
    ranges = []
    for first, past in _runs(indexes):
        entries = await _entries(evidence, origin, (first, past), with_openings)
        proof = range_proof(hashes, first, past, checkpoint.size)
        ranges.append(Range(first, entries, proof))
    key = log_key(installation, owner)
    verifier = importlib.resources.files("gateway.evidence") / "verify.py"
    octets = build_bundle(
        note=checkpoint.note, key=key, ranges=ranges, verifier=verifier.read_bytes()
    )
    async with installation.store.work() as work:
        await work.evidence.append(
            ExportMade(
                id=RecordId(clock.new_id()),
                at=clock.now(),
                municipality=owner,
                message=None,
                policy=installation.policy.digest,
                actor=f"os-user:{getpass.getuser()}",
                first=ranges[0].first,
                past=ranges[-1].past,
                bundle_digest=hashlib.sha256(octets).hexdigest(),
            )
        )
    count = sum(len(each.entries) for each in ranges)
    return Exported(octets, count, checkpoint.size, key)


async def _entries(
    evidence: SqlEvidence, origin: str, bounds: tuple[int, int], with_openings: bool
) -> tuple[Entry, ...]:
    leaves = await evidence.leaves(origin, *bounds)
    if not with_openings:
        return tuple(map(Entry, leaves))
    ids = [RecordId(json.loads(leaf)["id"]) for leaf in leaves]
    openings = await evidence.openings(ids)
    return tuple(
        Entry(leaf, openings.get(of)) for leaf, of in zip(leaves, ids, strict=True)
    )


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending indexes as runs (first, past)."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
