"""Stand-alone verifier of Ketenmail evidence bundles; format: docs/evidence-format.md.

    python3 verify.py BUNDLE.zip --key KEYFILE|FINGERPRINT|VERIFIER-KEY [--json]

Needs Python 3.10 and `cryptography`; no network, no database, nothing of the gateway.
The key, or an earlier checkpoint, must come from elsewhere than the bundle. Exit code
0: all holds; 1: it does not, or its origin is not proven; 2: wrong use.
"""

import argparse
import base64
import dataclasses
import hashlib
import hmac
import json
import pathlib
import re
import struct
import sys
import zlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "ketenmail-evidence-bundle/1"
README_SHA256 = "6ae6234e2c979a73a6fc3dd29c9722aa269d52bea549b2984549f6e3bc085f14"
ALWAYS = {"README.txt", "checkpoint.txt", "manifest.json", "openings.jsonl"}
ALWAYS |= {"proof.json", "records.jsonl", "verify.py"}
EARLIER = {"earlier-checkpoint.txt", "consistency.json"}
LEAF = {  # what a record of version 1 has, no more and no less, as JSON
    "at": r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"',
    "event": r'"[a-z]+(-[a-z]+)*"',
    "fields": r'\{("[a-z][a-z0-9_]*":"[0-9a-f]{64}",?)*\}',
    "id": r'"[!#-[\]-~]+"',
    "message": r'"[!#-[\]-~]+"|null',
    "origin": r'"[!#-[\]-~]+"',
    "policy": r'"[!#-[\]-~]*"',
    "software": r'"[ !#-[\]-~]+"',
    "v": "1",
}
NOTE = r"(\S+\n(0|[1-9]\d{0,18})\n([A-Za-z\d+/]{43}=)\n)\n((?:— \S+ \S+\n){1,64})"
HEX = "[0-9a-f]{64}"
KEY = r"[!-*,-~]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}"
HASHES = rf'\[("{HEX}",?)*\]'  # for text that is canonical JSON
JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
Head = tuple[int, bytes]  # size and root of a tree
Key = tuple[str, bytes, bytes]  # name, key id, public key
# What is wrong: Dutch, then English.
SAYS = """
octets: Dit deel ontbreekt, is te veel, veranderd, of niet in de voorgeschreven vorm.
octets: This part is missing, surplus, changed, or not in the prescribed form.
record: Dit record heeft niet precies de velden van versie 1, of is van een ander log.
record: This record has not exactly the fields of version 1, or is of another log.
opening: Deze waarde is hier niet vastgelegd, of is veranderd.
opening: This value was not committed to here, or was changed.
note: Dit is geen checkpoint van dit log met een geldige handtekening.
note: This is not a checkpoint of this log with a valid signature.
range: Hier is een record veranderd, weggelaten, toegevoegd of verplaatst.
range: Here a record was altered, left out, added or moved.
consistency: Dit zet het eerdere checkpoint niet aantoonbaar voort: herschreven log?
consistency: This does not provably continue the earlier checkpoint: rewritten log?
key: De bundel is ondertekend met een andere sleutel dan die u vertrouwt.
key: The bundle is signed with another key than the one you trust.
origin: De sleutel zit in de bundel zelf, waar ieder er een in kan leggen: geef --key.
origin: The key is in the bundle itself, where anybody can put one: give --key.
"""


class Bad(Exception):  # noqa: N818 - what was found, not an error of ours
    """Something is wrong: its code in SAYS, and the place."""


@dataclasses.dataclass(frozen=True)
class Trust:
    """What the reader trusts from elsewhere: a key, an earlier checkpoint, or both."""

    fingerprint: str | None = None
    checkpoint: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """The verdict; what is wrong, where and what it means; what holds."""

    verdict: str  # verified | consistent, origin not proven | failed
    exit_code: int  # 0 for verified, else 1
    finding: dict[str, str]  # place, nl, en; empty when verified
    facts: dict[str, Any]

    def text(self) -> str:
        """The report for people; no octet of the bundle can steer a terminal."""
        lines = {"verdict": self.verdict, **self.finding, **self.facts}
        return "\n".join(f"{name}: {each}" for name, each in lines.items())


def need(holds: object, code: str, place: str) -> None:
    """Stop this check unless it holds."""
    if not holds:
        raise Bad(code, place)


def matches(pattern: str, value: object) -> bool:
    """Whether it is a text of that form, as a whole."""
    return isinstance(value, str) and bool(re.fullmatch(pattern, value, re.ASCII))


def pack(files: dict[str, bytes]) -> bytes:
    """The one ZIP of these files: stored, sorted, no times, extras or comments."""
    body, directory = b"", b""
    for name, content in sorted(files.items()):
        size, raw = len(content), name.encode("ascii")
        # Version 2.0, no flags, stored, 1980-01-01 00:00:00; made as on Unix, 0644.
        head = struct.pack("<5H", 20, 0, 0, 0, 0x21)
        head += struct.pack("<3I2H", zlib.crc32(content), size, size, len(raw), 0)
        where = struct.pack("<3H2I", 0, 0, 0, 0o100644 << 16, len(body))
        directory += b"PK\1\2\x14\3" + head + where + raw
        body += b"PK\3\4" + head + raw + content
    counts = (0, 0, len(files), len(files), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + struct.pack("<4H2IH", *counts)


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a bundle, provided that packing them again gives the same octets."""
    files: dict[str, bytes] = {}
    at = 0
    while data[at : at + 4] == b"PK\3\4" and len(data) >= at + 30:
        crc, size, _, length = struct.unpack_from("<3IH", data, at + 14)
        raw, at = data[at + 30 : at + 30 + length], at + 30 + length
        need(re.fullmatch(rb"[A-Za-z0-9.-]{1,64}", raw), "octets", f"ZIP, octet {at}")
        content, at = data[at : at + size], at + size
        need(zlib.crc32(content) == crc, "octets", raw.decode())
        files[raw.decode()] = content
    again = pack(files)
    if again != data:
        where = [*map(int.__eq__, again, data), False].index(False)
        raise Bad("octets", f"ZIP, octet {where}")
    return files


def canonical(value: object) -> bytes:
    """RFC 8785, for values whose object names are ASCII and whose numbers are whole."""
    return JSON.encode(value).encode()


def parse(octets: bytes, place: str, form: str = r"\{.*\}") -> dict[str, Any]:
    """Parse a canonical JSON object; fractions become texts, which are other octets."""
    try:
        value = json.loads(octets, parse_float=str, parse_constant=str)
        same = canonical(value) == octets and matches(form, octets.decode())
    except (ValueError, RecursionError) as error:
        raise Bad("octets", place) from error
    need(same, "octets", place)
    return dict(value)


def read_key(text: object, place: str) -> Key:
    """Parse a verifier key: name, key id, and in base64 the algorithm and the key."""
    need(matches(KEY, text), "octets", place)
    name, number, encoded = str(text).split("+", 2)
    octets = base64.b64decode(encoded)
    key_id = hashlib.sha256(name.encode() + b"\n" + octets).digest()[:4]
    need(key_id.hex() == number and octets[:1] == b"\1", "octets", place)
    return name, key_id, octets[1:]


def read_trust(text: str) -> str:
    """The fingerprint of a verifier key, or the one given; Bad for anything else."""
    text = text.strip()
    plain = text.lower().removeprefix("sha256:").replace(":", "")
    if matches(HEX, plain):
        return plain
    read_key(text, "--key")
    return hashlib.sha256(text.encode()).hexdigest()


def read_note(octets: bytes, key: Key, place: str) -> Head:
    """Size and root of a checkpoint that this key signed for its own log."""
    note, ours = octets.decode(errors="replace"), 0
    match = re.fullmatch(NOTE, note, re.ASCII)
    if not match or not note.startswith(key[0] + "\n") or note.encode() != octets:
        raise Bad("note", place)
    for line in match[4].split("\n")[:-1]:
        _, name, encoded = line.split(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
            need(base64.b64encode(raw).decode() == encoded, "note", place)
            if (name, raw[:4]) == key[:2]:
                public = Ed25519PublicKey.from_public_bytes(key[2])
                public.verify(raw[4:], match[1].encode())
                ours += 1
        except (ValueError, InvalidSignature) as error:
            raise Bad("note", place) from error
    need(ours, "note", place)
    return int(match[2]), base64.b64decode(match[3])


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def ranged(low: int, high: int, at: int, leaves: list[bytes], proof: Any) -> bytes:
    """Root over [low, high): the leaves from `at` on, the rest from the proof."""
    if not leaves or high <= at or at + len(leaves) <= low:
        return bytes(next(proof))
    if high - low == 1:
        return leaves[low - at]
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    left = ranged(low, middle, at, leaves, proof)
    return node(left, ranged(middle, high, at, leaves, proof))


def grown(low: int, high: int, first: int, root: bytes, proof: Any) -> list[bytes]:
    """Roots before and after growth over [low, high); the proof from the root down."""
    if first == high:
        return [next(proof) if low else root] * 2
    middle, other = low + (1 << (high - low - 1).bit_length() - 1), next(proof)
    if first <= middle:
        old, new = grown(low, middle, first, root, proof)
        return [old, node(new, other)]
    return [node(other, each) for each in grown(middle, high, first, root, proof)]


def leads(to: object, compute: Any, start: Any, proof: Any) -> bool:
    """Whether the proof leads there and is used up exactly."""
    steps = iter(proof)
    try:
        return bool(compute(*start, steps) == to) and next(steps, None) is None
    except StopIteration:
        return False


def continues(before: Head, now: Head, proof: list[bytes]) -> bool:
    """Whether the tree `now` continues `before` (proof of RFC 9162 2.1.4)."""
    old, new = before[0], now[0]
    if old in {0, new}:
        empty = (0, hashlib.sha256(b"").digest())
        bare = {head for head in (before, now) if head[0] == 0}  # they have one root
        return not proof and bare <= {empty} and (old == 0 or before == now)
    start, roots = (0, new, old, before[1]), [before[1], now[1]]
    return old < new and leads(roots, grown, start, proof[::-1])


def inner(path: str, value: Any) -> dict[str, str]:
    """The commitments to facts in the structure of an opened field."""
    items = enumerate(value, 1) if isinstance(value, list) else ()
    places = {path: value} | {f"{path}/{number}": item for number, item in items}
    facts = {at: item for at, item in places.items() if isinstance(item, dict)}
    return {f"{at}/{name}": item[name] for at, item in facts.items() for name in item}


class Bundle:
    """A bundle under check; each check stops at the first thing that is wrong."""

    def __init__(self, data: bytes) -> None:
        self.files = files = unpack(data)
        odd = set(files) ^ (ALWAYS | EARLIER if EARLIER & set(files) else ALWAYS)
        need(not odd, "octets", "ZIP: " + ", ".join(sorted(odd)))
        readme = hashlib.sha256(files["README.txt"]).hexdigest()
        need(readme == README_SHA256, "octets", "README.txt")
        self.manifest = parse(files["manifest.json"], "manifest.json")
        self.fields: dict[int, dict[str, str]] = {}  # commitments of each record
        self.key = read_key(self.manifest.get("key"), "manifest.json, key")
        self.now = read_note(files["checkpoint.txt"], self.key, "checkpoint.txt")

    def check(self, trust: Trust) -> dict[str, Any]:
        """All checks; answers what holds."""
        mark = hashlib.sha256(self.manifest["key"].encode()).hexdigest()
        known = trust.fingerprint in {None, mark}
        need(known, "key", "manifest.json, key")
        before = self.check_growth() if "consistency.json" in self.files else None
        if trust.checkpoint is not None:
            mine = read_note(trust.checkpoint, self.key, "--checkpoint")
            need(mine in {before, self.now}, "consistency", "--checkpoint")
        ranges = self.manifest.get("ranges")
        counts = self.check_records(ranges)
        holds = {"counts": counts, "earlier": before and before[0], "format": FORMAT}
        holds |= {"key": self.manifest["key"], "origin": self.key[0], "ranges": ranges}
        holds |= {"size": self.now[0]}
        for name in sorted({*self.manifest, *holds}):
            pair = [canonical([m.get(name), name in m]) for m in (self.manifest, holds)]
            need(pair[0] == pair[1], "octets", f"manifest.json, {name}")
        holds |= {"fingerprint": f"SHA256:{mark}", "root": self.now[1].hex()}
        # Nothing proves the verifier in the bundle: its digest can be compared.
        return holds | {"verifier": hashlib.sha256(self.files["verify.py"]).hexdigest()}

    def check_growth(self) -> Head:
        """The earlier checkpoint, which the log must continue."""
        place = "earlier-checkpoint.txt"
        before = read_note(self.files[place], self.key, place)
        place, form = "consistency.json", r'\{"hashes":' + HASHES + r"\}"
        proof = [*map(bytes.fromhex, parse(self.files[place], place, form)["hashes"])]
        need(continues(before, self.now, proof), "consistency", place)
        return before

    def rows(self, name: str) -> list[bytes]:
        """The lines of a file in which every line ends."""
        *lines, rest = self.files[name].split(b"\n")
        need(not rest, "octets", f"{name}, after the last line")
        return lines

    def check_records(self, ranges: Any) -> dict[str, int]:
        """Each record by itself, its openings, all in the tree; answers counts."""
        shape = matches(r"\[(\[\d+,\d+\],?)+\]", canonical(ranges).decode())
        need(shape, "octets", "manifest.json, ranges")
        edges = [*(edge for pair in ranges for edge in pair), self.now[0]]
        need(edges == sorted(edges), "octets", "manifest.json, ranges")
        records, total = self.rows("records.jsonl"), sum(b - a for a, b in ranges)
        need(len(records) == total, "range", f"records.jsonl, {total} records expected")
        indexes = (index for pair in ranges for index in range(*pair))
        for index, record in zip(indexes, records, strict=True):
            self.fields[index] = self.check_record(record, f"record {index}")
        lines = enumerate(self.rows("openings.jsonl"), 1)
        opened = [self.check_openings(row, f"line {number}") for number, row in lines]
        need(opened == sorted(set(opened)), "octets", "openings.jsonl")
        self.check_ranges(ranges, records)
        return {"openings": len(opened), "records": total}

    def check_record(self, octets: bytes, where: str) -> dict[str, str]:
        """One record: strictly version 1 and of this log. Answers its commitments."""
        place = f"records.jsonl, {where}"
        leaf = parse(octets, place)
        need(set(leaf) == set(LEAF), "record", place)
        for name, form in LEAF.items():
            fine = matches(form, canonical(leaf[name]).decode())
            need(fine, "record", f"{place}, {name}")
        need(leaf["origin"] == self.key[0], "record", f"{place}, origin")
        return dict(leaf["fields"])

    def check_openings(self, row: bytes, where: str) -> int:
        """Each opening of a record shows what was committed to. Answers its index."""
        place = f"openings.jsonl, {where}"
        entry = parse(row, place, r'\{"fields":\{.*\},"index":\d+\}')
        index: int = entry["index"]
        need(index in self.fields, "opening", place)
        for path, opening in sorted(entry["fields"].items()):  # `hop` before `hop/port`
            place = f"openings.jsonl, record {index}, {path}"
            shape = r'\{"key":"' + HEX + r'","value":.*\}'
            need(matches(shape, canonical(opening).decode()), "octets", place)
            text = path.encode() + b"\0" + canonical(opening["value"])
            digest = hmac.digest(bytes.fromhex(opening["key"]), text, "sha256").hex()
            need(digest == self.fields[index].get(path), "opening", place)
            self.fields[index] |= inner(path, opening["value"])
        return index

    def check_ranges(self, ranges: Any, records: list[bytes]) -> None:
        """The records are all there is in each range of the signed tree."""
        form = r'\{"ranges":\[(' + HASHES + r",?)+\]\}"
        proofs = parse(self.files["proof.json"], "proof.json", form)["ranges"]
        need(len(proofs) == len(ranges), "octets", "proof.json")
        leaves = [hashlib.sha256(b"\0" + record).digest() for record in records]
        for (first, past), proof in zip(ranges, proofs, strict=True):
            part, leaves = leaves[: past - first], leaves[past - first :]
            start, steps = (0, self.now[0], first, part), map(bytes.fromhex, proof)
            where = f"records.jsonl, records {first} to {past - 1}"
            need(leads(self.now[1], ranged, start, steps), "range", where)


def verify_bundle(data: bytes, trust: Trust | None = None) -> Report:
    """Verify a bundle. Never raises for what the octets hold."""
    trust, facts = trust or Trust(), {"time-stamp": "not checked"}
    code, place, verdict = "", "", "verified"
    try:
        facts |= Bundle(data).check(trust)
    except Bad as bad:
        (code, place), verdict = bad.args, "failed"
    if not code and trust == Trust():
        code, place = "origin", "manifest.json, key"
        verdict = "consistent, origin not proven"
    says = [row.partition(": ")[2] for row in SAYS.split("\n") if row.startswith(code)]
    finding = {"place": ascii(place)[1:-1], "nl": says[0], "en": says[1]}
    return Report(verdict, int(bool(code)), finding if code else {}, facts)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Verify an evidence bundle, offline.")
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("--key", help="file with a verifier key, or it, or fingerprint")
    parser.add_argument("--checkpoint", type=pathlib.Path, help="one kept from earlier")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        file = pathlib.Path(given.key or "")
        text = file.read_text("utf-8") if file.is_file() else given.key
        note = given.checkpoint.read_bytes() if given.checkpoint else None
        trust = Trust(read_trust(text) if text else None, note)
        data = given.bundle.read_bytes()
    except (OSError, ValueError, Bad) as error:
        parser.error(str(error))
    report = verify_bundle(data, trust)
    whole = canonical(dataclasses.asdict(report)).decode()
    sys.stdout.write((whole if given.json else report.text()) + "\n")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
