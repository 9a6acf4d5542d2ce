import base64
import json
import pathlib
import subprocess

import evidence_log
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.evidence import checkpoint
from gateway.evidence.checkpoint import Checkpoint
from gateway.model.errors import EvidenceError

PLACE = pathlib.Path(__file__).parents[2] / "vectors/evidence/signed_note.json"
VECTORS = json.loads(PLACE.read_text())
PETER, ENOCH = (checkpoint.parse_key(key) for key in VECTORS["keys"][:2])
TEXT = VECTORS["text"]
PETER_LINE, ENOCH_LINE = VECTORS["signatures"]
ROOT = bytes(range(32))


@pytest.mark.parametrize("key", VECTORS["keys"])
def test_published_verifier_keys_are_read_and_written_back(key):
    assert checkpoint.format_key(*checkpoint.parse_key(key)) == key


def test_the_published_key_of_the_zero_seed_is_derived_alike():
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    key = checkpoint.format_key("EnochRoot", public.public_bytes_raw())
    assert VECTORS["keys"][1] == key


def test_the_published_note_opens_with_each_of_its_keys():
    note = TEXT + "\n" + PETER_LINE + ENOCH_LINE
    assert checkpoint.open_note(note, *PETER) == TEXT
    assert checkpoint.open_note(note, *ENOCH) == TEXT
    assert checkpoint.open_note(TEXT + "\n" + PETER_LINE, *PETER) == TEXT


def test_a_note_text_may_hold_an_empty_line():
    parsed = checkpoint.parse_note("a\n\nb\n\n" + PETER_LINE)
    assert parsed.text == "a\n\nb\n"


@pytest.mark.parametrize(
    "note",
    [
        TEXT + "\n" + ENOCH_LINE,  # only of another key
        TEXT.replace("answer", "Answer") + "\n" + PETER_LINE,
        TEXT + "\n" + ENOCH_LINE.replace("EnochRoot", "PeterNeumann"),
        TEXT + "\n" + PETER_LINE + PETER_LINE.replace("JkuBS9", "JkuBS8"),
        TEXT + "\n",
        TEXT + PETER_LINE,
        "\n\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE[:-1],
        TEXT + "\n" + PETER_LINE + "\n",
        TEXT + "\n" + PETER_LINE.replace("—", "-"),
        TEXT + "\n" + PETER_LINE.replace(" x08", "  x08"),
        TEXT
        + "\n"
        + PETER_LINE.replace("yBwJnAM=", "yBwJnAN="),  # not canonical base64
        TEXT + "\n" + PETER_LINE.replace("yBwJnAM=", "yBwJnAM"),
        TEXT + "\n— PeterNeumann x08goA==\n",  # no octet of a signature
        TEXT.replace("\n", "\r\n") + "\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE * 65,
    ],
)
def test_a_note_that_is_not_exactly_right_does_not_open(note):
    with pytest.raises(EvidenceError):
        checkpoint.open_note(note, *PETER)


def test_a_note_with_as_many_signatures_as_the_specification_asks_opens():
    assert (
        checkpoint.open_note(TEXT + "\n" + PETER_LINE + ENOCH_LINE * 16, *PETER) == TEXT
    )


def test_the_published_checkpoint_is_read_and_written_back():
    text = VECTORS["checkpoint"]
    parsed = checkpoint.parse_checkpoint(text)
    assert (parsed.origin, parsed.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.format_checkpoint(parsed) == text
    note = text + "\n" + "".join(VECTORS["checkpoint_signatures"])
    names = [each.name for each in checkpoint.parse_note(note).signatures]
    assert names == ["example.com/behind-the-sofa", "witness.example.com/w1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        f"a\n01\n{base64.b64encode(ROOT).decode()}\n",
        f"a\n-1\n{base64.b64encode(ROOT).decode()}\n",
        f"a\n+1\n{base64.b64encode(ROOT).decode()}\n",
        f"a\n١\n{base64.b64encode(ROOT).decode()}\n",
        f"a\n\n{base64.b64encode(ROOT).decode()}\n",
        f"\n1\n{base64.b64encode(ROOT).decode()}\n",
        f"a b\n1\n{base64.b64encode(ROOT).decode()}\n",
        f"a\n1\n{base64.b64encode(ROOT).decode()}",
        f"a\n1\n{base64.b64encode(ROOT).decode()}\nextension\n",
        f"a\n1\n{base64.b64encode(ROOT).decode()}\n\n",
        f"a\n1\n{base64.b64encode(ROOT[:-1]).decode()}\n",
        f"a\n1\n{base64.b64encode(ROOT).decode()[:-2]}9=\n",
        f"a\n1\n{base64.b64encode(ROOT).decode()} \n",
        "a\n1\né\n",
        f"a\n1{'0' * 19}\n{base64.b64encode(ROOT).decode()}\n",
    ],
)
def test_a_text_that_is_not_exactly_a_checkpoint_is_refused(text):
    with pytest.raises(EvidenceError):
        checkpoint.parse_checkpoint(text)


def test_a_signed_checkpoint_verifies_to_the_same_value():
    signer = evidence_log.Signer("gw.example.test/a", b"1")
    head = Checkpoint("gw.example.test/a", 12, ROOT)
    note = checkpoint.sign_note(head, signer)
    assert head == checkpoint.verify_note(note, signer.name, signer.public_key)


def test_a_checkpoint_of_one_log_is_never_signed_or_taken_for_another():
    signer = evidence_log.Signer("gw.example.test/a", b"1")
    foreign = Checkpoint("gw.example.test/b", 12, ROOT)
    with pytest.raises(EvidenceError):
        checkpoint.sign_note(foreign, signer)

    text = checkpoint.format_checkpoint(foreign)
    key_id = checkpoint.key_id(signer.name, signer.public_key)
    line = base64.b64encode(key_id + signer.sign(text.encode())).decode()
    note = f"{text}\n— {signer.name} {line}\n"
    assert text == checkpoint.open_note(note, signer.name, signer.public_key)
    with pytest.raises(EvidenceError, match="another log"):
        checkpoint.verify_note(note, signer.name, signer.public_key)


def test_each_part_of_a_signed_checkpoint_counts():
    signer = evidence_log.Signer("gw.example.test/a", b"1")
    note = checkpoint.sign_note(Checkpoint(signer.name, 12, ROOT), signer)
    octets = note.encode()
    for at in range(len(octets)):
        for bit in (1, 32):
            forged = bytearray(octets)
            forged[at] ^= bit
            text = bytes(forged).decode(errors="replace")
            with pytest.raises(EvidenceError):
                checkpoint.verify_note(text, signer.name, signer.public_key)


@pytest.mark.parametrize("size", [-1, 1])
def test_an_impossible_checkpoint_is_not_written(size):
    root = ROOT if size < 0 else ROOT[:-1]
    with pytest.raises(EvidenceError):
        checkpoint.format_checkpoint(Checkpoint("a/b", size, root))
    with pytest.raises(EvidenceError):
        checkpoint.format_checkpoint(Checkpoint("a b", 1, ROOT))


@pytest.mark.parametrize("change", ["+c74f20a4+", "+C74F20A3+", "+", "++"])
def test_a_verifier_key_whose_id_does_not_fit_is_refused(change):
    with pytest.raises(EvidenceError):
        checkpoint.parse_key(VECTORS["keys"][0].replace("+c74f20a3+", change))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "PeterNeumann",
        VECTORS["keys"][0][:-4],
        VECTORS["keys"][0] + "\n",
        VECTORS["keys"][0].replace("ARpc", "BRpc"),  # another algorithm
        "a b+00000000+AQ==",
        "\ud800+00000000+\ud800",
    ],
)
def test_what_is_no_ed25519_verifier_key_is_refused(key):
    with pytest.raises(EvidenceError):
        checkpoint.parse_key(key)


def test_a_fingerprint_is_over_the_whole_verifier_key_and_so_over_the_name():
    key = VECTORS["keys"][0]
    done = subprocess.run(["sha256sum"], input=key.encode(), capture_output=True)
    expected = "SHA256:" + done.stdout.decode().split()[0]
    assert expected == checkpoint.fingerprint(*PETER)
    assert expected != checkpoint.fingerprint("Other", PETER[1])


def test_an_origin_is_the_gateway_and_the_municipality():
    assert checkpoint.origin_of("gw.example.nl", "utrecht") == "gw.example.nl/utrecht"
    assert checkpoint.origin_of("gw.example.nl", "_gateway") == "gw.example.nl/_gateway"


@pytest.mark.parametrize(
    ("hostname", "municipality"),
    [("", "a"), ("h", ""), ("h", "a b"), ("h", "a+b"), ("h", "a\nb"), ("h", "a\u00a0")],
)
def test_an_origin_that_could_reframe_a_note_is_refused(hostname, municipality):
    with pytest.raises(EvidenceError):
        checkpoint.origin_of(hostname, municipality)


def test_openssl_verifies_the_signature_of_a_note(tmp_path):
    signer = evidence_log.Signer("gw.example.test/a", b"1")
    note = checkpoint.sign_note(Checkpoint(signer.name, 12, ROOT), signer)
    text, _, line = note.rpartition("\n\n")
    spki = bytes.fromhex("302a300506032b6570032100") + signer.public_key
    for name, octets in {
        "key.der": spki,
        "text": (text + "\n").encode(),
        "forged": (text + " \n").encode(),
        "signature": base64.b64decode(line.split(" ")[2])[4:],
    }.items():
        (tmp_path / name).write_bytes(octets)
    answers = [
        subprocess.run(
            [
                *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.der"),
                *("-keyform", "DER", "-rawin", "-in", name, "-sigfile", "signature"),
            ],
            cwd=tmp_path,
            capture_output=True,
        ).returncode
        for name in ("text", "forged")
    ]
    assert answers[0] == 0
    assert answers[1] != 0
