"""Checkpoints: signed statements of how far a log is, and its root (F-03).

The text is a C2SP tlog-checkpoint, the envelope a C2SP signed note with Ed25519, so
that witnesses and tools of others can read them. Stricter than the specification in two
ways: the key name is the origin, in printable ASCII (F-03: a signature for one log
never counts for another), and extension lines are refused, since no log of ours writes
them.

The private key is behind a door; here it is only a `CheckpointSigner`.

Source: https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note.
"""

import base64
import binascii
import dataclasses
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.evidence.tree import HASH_OCTETS
from gateway.model.errors import EvidenceError
from gateway.ports import CheckpointSigner

_ED25519 = b"\x01"
_KEY_ID_OCTETS = 4
_KEY_OCTETS = 32
_MAX_SIGNATURES = 64
_CHECKPOINT_LINES = 3
_NAME = re.compile(r"[!-*,-~]+\Z")  # printable ASCII without space and plus
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE_LINE = re.compile(r"— (\S+) (\S+)\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of one log: how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note: who says to have signed, and with what."""

    name: str
    key_id: bytes
    signature: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """A signed note, parsed and not verified. `text` ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]


def origin_of(hostname: str, municipality: str) -> str:
    """The origin, and key name, of a municipality's log on this gateway.

    Raises:
        EvidenceError: When the whole cannot be a key name of ours: printable ASCII
            without space and `+`, no empty part.
    """
    origin = f"{hostname}/{municipality}"
    if not (hostname and municipality and _NAME.match(origin)):
        raise EvidenceError("a log origin must be free of white space and plus signs")
    return origin


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """The text that is signed: origin, size and root, one line each."""
    if not _NAME.match(checkpoint.origin):
        raise EvidenceError("a log origin must be free of white space and plus signs")
    if checkpoint.size < 0 or len(checkpoint.root) != HASH_OCTETS:
        raise EvidenceError("a checkpoint needs a size and a root of 32 octets")
    return f"{checkpoint.origin}\n{checkpoint.size}\n{_base64(checkpoint.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a checkpoint.

    Raises:
        EvidenceError: When it is not exactly origin, size and root.
    """
    lines = text.split("\n")
    if len(lines) != _CHECKPOINT_LINES + 1 or lines.pop() != "":
        raise EvidenceError("checkpoint: it does not have exactly three lines")
    origin, size, root = lines
    if not _NAME.match(origin) or not _SIZE.match(size):
        raise EvidenceError("checkpoint: origin or size is malformed")
    octets = _octets(root)
    if len(octets) != HASH_OCTETS:
        raise EvidenceError("checkpoint: the root does not have 32 octets")
    return Checkpoint(origin, int(size), octets)


def key_id(name: str, public_key: bytes) -> bytes:
    """The four octets by which a note names a key; a hint, not a proof."""
    text = name.encode() + b"\n" + _ED25519 + public_key
    return hashlib.sha256(text).digest()[:_KEY_ID_OCTETS]


def format_key(name: str, public_key: bytes) -> str:
    """The verifier-key text: name, key id and key."""
    _check_key(name, public_key)
    return f"{name}+{key_id(name, public_key).hex()}+{_base64(_ED25519 + public_key)}"


def parse_key(text: str) -> tuple[str, bytes]:
    """Parse a verifier key.

    Returns:
        The key name and the 32 octets of the Ed25519 public key.

    Raises:
        EvidenceError: When it is malformed, of another algorithm, or the id is wrong.
    """
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    octets = _octets(encoded)
    public_key = octets[1:]
    if octets[:1] != _ED25519 or format_key(name, public_key) != text:
        raise EvidenceError("verifier key: malformed, or its id does not fit")
    return name, public_key


def fingerprint(name: str, public_key: bytes) -> str:
    """What people compare: SHA-256 over the verifier-key text, so over the name too.

    The same as `sha256sum` gives for a key file without a final newline.
    """
    text = format_key(name, public_key)
    return "SHA256:" + hashlib.sha256(text.encode()).hexdigest()


def sign_note(checkpoint: Checkpoint, signer: CheckpointSigner) -> str:
    """Sign a checkpoint. The caller sees to it that what it covers is durable (F-21).

    Raises:
        EvidenceError: When the signer's name is not the origin.
    """
    if signer.name != checkpoint.origin:
        raise EvidenceError("a checkpoint is signed under the name of its log only")
    text = format_checkpoint(checkpoint)
    signature = signer.sign(text.encode())
    line = _base64(key_id(signer.name, signer.public_key) + signature)
    return f"{text}\n— {signer.name} {line}\n"


def parse_note(note: str) -> Note:
    """Take a note apart; nothing is verified yet.

    Raises:
        EvidenceError: When it is no signed note.
    """
    head, blank, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not blank or not head or lines.pop() != "" or _CONTROL.search(note):
        raise EvidenceError("note: it is not text, a blank line and signature lines")
    if not 1 <= len(lines) <= _MAX_SIGNATURES:
        raise EvidenceError("note: no signatures, or too many")
    return Note(head + "\n", tuple(map(_signature, lines)))


def _signature(line: str) -> Signature:
    match = _SIGNATURE_LINE.match(line)
    octets = _octets(match[2]) if match else b""
    if not match or len(octets) <= _KEY_ID_OCTETS:
        raise EvidenceError("note: a signature line is malformed")
    return Signature(match[1], octets[:_KEY_ID_OCTETS], octets[_KEY_ID_OCTETS:])


def open_note(note: str, name: str, public_key: bytes) -> str:
    """Verify any signed note against one key, and answer its text.

    Signatures of other keys are passed over, as the specification demands; one of this
    key that is wrong condemns the note.

    Raises:
        EvidenceError: When no signature of this key is there, or one is wrong.
    """
    _check_key(name, public_key)
    parsed = parse_note(note)
    wanted = key_id(name, public_key)
    ours = [s for s in parsed.signatures if (s.name, s.key_id) == (name, wanted)]
    if not ours:
        raise EvidenceError("note: no signature of the expected key")
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        for signature in ours:
            key.verify(signature.signature, parsed.text.encode())
    except InvalidSignature as error:
        raise EvidenceError("note: the signature does not verify") from error
    return parsed.text


def verify_note(note: str, name: str, public_key: bytes) -> Checkpoint:
    """Verify a signed checkpoint of the log with this name and key.

    Raises:
        EvidenceError: When note, signature or checkpoint are not in order, or the
            checkpoint is of another log.
    """
    checkpoint = parse_checkpoint(open_note(note, name, public_key))
    if checkpoint.origin != name:
        raise EvidenceError("checkpoint: it is of another log than its key")
    return checkpoint


def _check_key(name: str, public_key: bytes) -> None:
    if not _NAME.match(name) or len(public_key) != _KEY_OCTETS:
        raise EvidenceError("a note key needs a plain name and 32 octets")


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _octets(text: str) -> bytes:
    """Decode base64 in its one canonical form."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceError("a value is not base64") from error
    if _base64(octets) != text:
        raise EvidenceError("a value is not canonical base64")
    return octets
