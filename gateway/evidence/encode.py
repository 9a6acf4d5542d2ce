"""From a record to what the tree holds and what may be erased (F-01, F-09, R7).

It promises: the leaf is canonical JSON (RFC 8785) that holds in clear only the format
version, event, instant, log origin, our random ids, policy digest and software version.
Every other field of the record is there as `HMAC-SHA256(key, name || 0x00 || value)`
under a key of its own, so that one field can be shown without helping anybody to guess
another, and so that the erasure of key and value leaves nothing to guess from.

A field with facts (`hop`) or a list of facts (`recipients`) is committed in two steps:
each fact under its path (`recipients/1/address`), and the structure of those
commitments under the field's own name. The leaf so has the same field names for each
record of an event, and does not show how many regimes or recipients there were.

Where keys come from (`secret`) and how openings are kept and erased is for others.
"""

import dataclasses
import datetime
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.model.errors import EvidenceError
from gateway.model.record import Facts, Record, Value

VERSION = 1
KEY_OCTETS = 32
_CLEAR = frozenset(field.name for field in dataclasses.fields(Record))
_FACT_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST = 2**53 - 1  # RFC 8785 numbers are IEEE 754 doubles
_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """A record for the log: `leaf` is for ever, `openings` is erasable.

    `openings` is canonical JSON: path -> {"key": hexadecimal, "value": ...}.
    """

    leaf: bytes
    openings: bytes = dataclasses.field(repr=False)


def encode(
    record: Record, *, origin: str, software: str, secret: Callable[[], bytes]
) -> Encoded:
    """Encode one record.

    Args:
        record: What was observed or decided.
        origin: The origin of the municipality's log, as in its checkpoints.
        software: Name and version of this gateway.
        secret: Answers 32 fresh random octets at each call.

    Returns:
        Leaf and openings; the same for the same arguments and secrets.

    Raises:
        EvidenceError: For a value that the format does not know (a float, an integer
            beyond 2^53, a naive instant, an impossible or repeated fact name); the text
            names the field, never the value.
    """
    committer = _Committer(secret)
    fields = {
        field.name: committer.commit_field(field, getattr(record, field.name))
        for field in dataclasses.fields(record)
        if field.name not in _CLEAR
    }
    leaf = {
        "at": _instant(record.at),
        "event": record.event,
        "fields": fields,
        "id": record.id,
        "message": record.message,
        "origin": origin,
        "policy": record.policy,
        "software": software,
        "v": VERSION,
    }
    return Encoded(canonical(leaf), canonical(committer.openings))


def canonical(value: Any) -> bytes:
    """RFC 8785 for values of this format: ASCII names, whole numbers, no surrogates.

    The standard library's encoder is three times as fast as `rfc8785` and writes the
    same for these; a test compares the two. For other values use `rfc8785`.
    """
    return _JSON.encode(value).encode()


def commit(key: bytes, path: str, value: Any) -> str:
    """The commitment to one value, in lower-case hexadecimal.

    Args:
        key: Exactly 32 octets: HMAC pads shorter keys with zeros, so that another
            length would let two keys open the same commitment.
        path: The name of the field or fact; holds no NUL.
        value: Anything canonical JSON can hold.
    """
    if len(key) != KEY_OCTETS:
        raise EvidenceError("a commitment key must have 32 octets")
    text = path.encode("ascii") + b"\0" + canonical(value)
    return hmac.digest(key, text, "sha256").hex()


class _Committer:
    """Commits to the fields of one record and keeps the openings."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret
        self.openings: dict[str, Any] = {}

    def commit_field(self, field: dataclasses.Field[Any], value: Any) -> str:
        if field.type == Facts:
            return self._commit(field.name, self._facts(field.name, value))
        if field.type == tuple[Facts, ...]:
            items = [
                self._facts(f"{field.name}/{number}", item)
                for number, item in enumerate(value, 1)
            ]
            return self._commit(field.name, items)
        return self._commit(field.name, _checked(field.name, value))

    def _facts(self, place: str, facts: Facts) -> dict[str, str]:
        commitments: dict[str, str] = {}
        for name, value in facts:
            if not _FACT_NAME.match(name) or name in commitments:
                raise EvidenceError(f"{place}: a fact name is impossible or repeated")
            path = f"{place}/{name}"
            commitments[name] = self._commit(path, _checked(path, value))
        return commitments

    def _commit(self, path: str, value: Any) -> str:
        key = self._secret()
        self.openings[path] = {"key": key.hex(), "value": value}
        return commit(key, path, value)


def _checked(path: str, value: Any) -> Value:
    """A scalar of the format.

    A lone surrogate, left by a hostile header, cannot stand in JSON and becomes U+FFFD:
    evidence may not fail, and so block mail, on what a sender wrote.
    """
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return value
    raise EvidenceError(f"{path}: a {type(value).__name__} cannot be evidence")


def _instant(at: datetime.datetime) -> str:
    """RFC 3339 in UTC with six decimals and Z: one text for one instant."""
    if at.tzinfo is None:
        raise EvidenceError("at: an instant without time zone cannot be evidence")
    text = at.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def read_openings(openings: bytes) -> Mapping[str, Value]:
    """The values that openings show, path -> value; for showing, not for proof.

    Structures are left out: their facts stand under their own paths.
    """
    return {
        path: opening["value"]
        for path, opening in json.loads(openings).items()
        if not isinstance(opening["value"], list | dict)
    }


def narrow(openings: bytes, keep: Callable[[str], bool]) -> bytes:
    """Keep only some openings, for a reader who needs no more (R7).

    Args:
        openings: All openings of one record.
        keep: Whether a path (`helo`, `recipients/2/address`) may be shown. The
            structure above a kept fact goes along: without it the fact proves nothing.

    Returns:
        The smaller openings, canonical as before.
    """
    everything = json.loads(openings)
    scalars = read_openings(openings)
    wanted = {path for path in everything if keep(path) and path in scalars}
    wanted |= {path.partition("/")[0] for path in wanted}
    return canonical({path: everything[path] for path in sorted(wanted)})
