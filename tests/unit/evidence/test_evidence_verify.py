import ast
import base64
import json
import runpy
import subprocess
import sys

import evidence_log
import pytest

from gateway.evidence import checkpoint, tree, verify
from gateway.evidence.verify import Trust


def trust_in(log):
    return Trust(verify.read_trust(log.signer.key))


def changed(data, **files):
    """The bundle with some files replaced, as a forger would pack it again."""
    names = {name: name.replace("_", ".") for name in files}
    new = {names[name].replace("..", "-"): content for name, content in files.items()}
    return verify.pack(verify.unpack(data) | new)


def failed_at(data, trust):
    report = verify.verify_bundle(data, trust)
    assert (report.verdict, report.exit_code) == ("failed", 1)
    assert set(report.finding) == {"place", "nl", "en"}
    assert all(report.finding.values())
    assert report.facts == {"time-stamp": "not checked"}
    return report.finding["place"]


# --- what holds -------------------------------------------------------------------


def test_a_whole_log_verifies_with_its_key(log):
    report = verify.verify_bundle(log.bundle(), trust_in(log))

    assert (report.verdict, report.exit_code, report.finding) == ("verified", 0, {})
    assert report.facts["origin"] == evidence_log.ORIGIN
    assert report.facts["ranges"] == [[0, 7]]
    assert report.facts["counts"] == {"openings": 7, "records": 7}
    assert report.facts["root"] == tree.root(log.hashes).hex()
    assert report.facts["time-stamp"] == "not checked"
    fingerprint = checkpoint.fingerprint(log.signer.name, log.signer.public_key)
    assert report.facts["fingerprint"] == fingerprint


@pytest.mark.parametrize("first", range(8))
def test_every_range_of_every_checkpoint_verifies(log, first):
    for past in range(first, 8):
        for size in range(past, 8):
            data = log.bundle(log.range(first, past, size), note=log.note(size))
            report = verify.verify_bundle(data, trust_in(log))
            assert report.verdict == "verified", (first, past, size, report)


def test_the_records_of_one_message_verify_as_several_ranges(log):
    data = log.bundle(log.range(1, 2), log.range(3, 4), log.range(4, 6))
    report = verify.verify_bundle(data, trust_in(log))
    assert report.verdict == "verified"
    assert report.facts["ranges"] == [[1, 2], [3, 4], [4, 6]]


def test_openings_may_be_few_or_none(log):
    for entry in log.encoded[1:]:
        object.__setattr__(entry, "openings", None)
    report = verify.verify_bundle(log.bundle(), trust_in(log))
    assert report.verdict == "verified"
    assert report.facts["counts"] == {"openings": 1, "records": 7}


@pytest.mark.parametrize("size", range(8))
def test_an_earlier_checkpoint_that_the_log_continues_verifies(log, size):
    data = log.bundle(earlier=log.earlier(size))
    report = verify.verify_bundle(data, trust_in(log))
    assert report.verdict == "verified"
    assert report.facts["earlier"] == size


def test_signatures_of_witnesses_are_passed_over(log, forger):
    witness = forger.note().rpartition("\n\n")[2].replace(evidence_log.ORIGIN, "w/1")
    data = changed(log.bundle(), checkpoint_txt=(log.note() + witness).encode())
    assert verify.verify_bundle(data, trust_in(log)).verdict == "verified"


# --- whose key --------------------------------------------------------------------


def test_a_key_that_is_only_in_the_bundle_proves_no_origin(log):
    report = verify.verify_bundle(log.bundle())
    assert report.verdict == "consistent, origin not proven"
    assert report.exit_code == 1
    assert report.finding["place"] == "manifest.json, key"
    assert report.facts["counts"]["records"] == 7


def test_a_forged_log_with_its_own_key_is_found_out(log, forger):
    assert verify.verify_bundle(forger.bundle()).verdict != "verified"
    assert failed_at(forger.bundle(), trust_in(log)) == "manifest.json, key"


def test_a_forged_log_under_the_trusted_key_is_found_out(log, forger):
    manifest = verify.unpack(log.bundle())["manifest.json"]
    data = changed(forger.bundle(), manifest_json=manifest)
    assert failed_at(data, trust_in(log)) == "checkpoint.txt"


def test_the_same_key_under_another_name_is_another_key(log):
    log.signer.name = "gw.example.test/other"
    other = Trust(verify.read_trust(log.signer.key))
    log.signer.name = evidence_log.ORIGIN
    assert failed_at(log.bundle(), other) == "manifest.json, key"


def test_a_checkpoint_that_the_reader_kept_proves_the_origin(log):
    for kept in (log.note(3), log.note()):
        data = log.bundle(earlier=log.earlier(3))
        report = verify.verify_bundle(data, Trust(checkpoint=kept.encode()))
        assert report.verdict == "verified"


def test_a_kept_checkpoint_that_the_bundle_does_not_continue_proves_nothing(
    log, forger
):
    for kept in (log.note(4), forger.note(3)):
        data = log.bundle(earlier=log.earlier(3))
        trust = Trust(checkpoint=kept.encode())
        assert failed_at(data, trust) == "--checkpoint"


def test_a_log_cut_off_and_signed_again_does_not_continue_the_kept_checkpoint(log):
    kept = log.note(7)
    del log.encoded[5:]
    assert failed_at(log.bundle(), Trust(checkpoint=kept.encode())) == "--checkpoint"
    rewritten = evidence_log.make_log(9)
    rewritten.encoded[2] = rewritten.encoded[3]
    earlier = rewritten.earlier(7)
    data = rewritten.bundle(earlier=type(earlier)(kept, earlier.proof))
    assert failed_at(data, trust_in(rewritten)) == "consistency.json"


# --- every octet ------------------------------------------------------------------


def flips(data, step):
    for at in range(0, len(data), step):
        forged = bytearray(data)
        forged[at] ^= 1 << at % 8
        yield bytes(forged)


def small_bundle():
    log = evidence_log.make_log(3)
    return log.bundle(verifier=b"# left out\n", earlier=log.earlier(2)), trust_in(log)


def test_any_flipped_octet_of_a_small_bundle_fails_and_names_a_place():
    data, trust = small_bundle()
    assert len(data) < 16_000
    assert verify.verify_bundle(data, trust).verdict == "verified"
    places = {failed_at(forged, trust).partition(",")[0] for forged in flips(data, 1)}
    assert places >= {"ZIP", *verify.ALWAYS, *verify.EARLIER}


@pytest.mark.long
def test_any_flipped_bit_of_the_whole_bundle_fails(log):
    data, trust = log.bundle(), trust_in(log)
    for at in range(len(data)):
        for bit in range(8):
            forged = bytearray(data)
            forged[at] ^= 1 << bit
            assert failed_at(bytes(forged), trust), (at, bit)


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [
        # A changed commitment or edge shows at the value or record that no longer fits.
        ("records.jsonl", {"openings.jsonl"}),
        ("openings.jsonl", set()),
        ("manifest.json", {"records.jsonl", "checkpoint.txt", "proof.json"}),
        ("proof.json", {"records.jsonl"}),
        ("checkpoint.txt", set()),
        ("earlier-checkpoint.txt", set()),
        ("consistency.json", set()),
        ("README.txt", set()),
    ],
)
def test_a_forger_who_mends_the_checksums_is_found_in_every_octet(name, elsewhere):
    data, trust = small_bundle()
    files = verify.unpack(data)
    for forged in flips(files[name], 1):
        place = failed_at(verify.pack(files | {name: forged}), trust)
        assert place.partition(",")[0] in {name, *elsewhere}


@pytest.mark.parametrize("cut", [0, 1, 29, 30, 31, 2000, -1])
def test_a_bundle_cut_short_or_with_a_tail_fails(log, cut):
    data = log.bundle()
    assert failed_at(data[:cut], trust_in(log))
    assert failed_at(data + b"\0", trust_in(log)).startswith("ZIP, octet")
    assert failed_at(b"\0" + data, trust_in(log)) == "ZIP, octet 0"


def test_what_is_no_bundle_at_all_fails_without_an_exception(log):
    for data in (
        b"",
        b"PK",
        b"PK\3\4" + bytes(26),
        b"PK\3\4" + b"\xff" * 80,
        bytes(9999),
    ):
        assert failed_at(data, trust_in(log)).startswith("ZIP")


@pytest.mark.parametrize("name", sorted(verify.ALWAYS | verify.EARLIER))
def test_a_file_missing_or_surplus_is_named(log, name):
    files = verify.unpack(log.bundle(earlier=log.earlier(3)))
    left = {key: value for key, value in files.items() if key != name}
    assert failed_at(verify.pack(left), trust_in(log)) == f"ZIP: {name}"
    more = files | {"more.txt": b""}
    assert failed_at(verify.pack(more), trust_in(log)) == "ZIP: more.txt"


def test_a_file_name_that_is_no_plain_name_fails(log):
    files = verify.unpack(log.bundle())
    data = verify.pack(files | {"../verify.py": b"import os\n"})
    assert failed_at(data, trust_in(log)).startswith("ZIP, octet")


# --- records ----------------------------------------------------------------------


def rows_of(data):
    return verify.unpack(data)["records.jsonl"].splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda rows: rows[:-1], "records.jsonl, 7 records expected"),
        (lambda rows: rows[1:], "records.jsonl, 7 records expected"),
        (lambda rows: [*rows, rows[-1]], "records.jsonl, 7 records expected"),
        (lambda rows: [rows[0], *rows[:-1]], "openings.jsonl, record 1, attempt"),
        (
            lambda rows: [rows[1], rows[0], *rows[2:]],
            "openings.jsonl, record 0, attempt",
        ),
        (lambda rows: [r[:-1] for r in rows], "records.jsonl, after the last line"),
    ],
)
def test_records_removed_added_duplicated_or_reordered_are_found(log, change, place):
    data = log.bundle()
    forged = changed(data, records_jsonl=b"".join(change(rows_of(data))))
    assert failed_at(forged, trust_in(log)) == place


def test_records_moved_are_found_in_the_tree_when_nothing_is_opened(log):
    data = log.bundle()
    rows = rows_of(data)
    swapped = b"".join([rows[1], rows[0], *rows[2:]])
    manifest = json.loads(verify.unpack(data)["manifest.json"])
    manifest["counts"]["openings"] = 0
    forged = changed(
        data,
        records_jsonl=swapped,
        openings_jsonl=b"",
        manifest_json=verify.canonical(manifest),
    )
    assert failed_at(forged, trust_in(log)) == "records.jsonl, records 0 to 6"


def test_a_shorter_range_does_not_pass_for_the_whole(log):
    data = log.bundle()
    manifest = json.loads(verify.unpack(data)["manifest.json"])
    manifest |= {"ranges": [[0, 6]], "counts": {"openings": 6, "records": 6}}
    forged = changed(
        data,
        records_jsonl=b"".join(rows_of(data)[:6]),
        openings_jsonl=b"".join(
            verify.unpack(data)["openings.jsonl"].splitlines(keepends=True)[:6]
        ),
        manifest_json=verify.canonical(manifest),
    )
    assert failed_at(forged, trust_in(log)) == "records.jsonl, records 0 to 6".replace(
        "6", "5"
    )


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("v", 2, ", v"),
        ("v", True, ", v"),
        ("v", "1", ", v"),
        ("at", "2026-03-01T12:00:00Z", ", at"),
        ("at", "2026-03-01T12:00:00.000000+00:00", ", at"),
        ("at", 0, ", at"),
        ("event", "", ", event"),
        ("event", "Intent", ", event"),
        ("id", "", ", id"),
        ("id", None, ", id"),
        ("message", "a b", ", message"),
        ("origin", "gw.example.test/other", ", origin"),
        ("origin", "", ", origin"),
        ("policy", None, ", policy"),
        ("software", "", ", software"),
        ("fields", [], ", fields"),
        ("fields", {"job": "AB" * 32}, ", fields"),
        ("fields", {"job": "ab" * 31}, ", fields"),
        ("fields", {"Job": "ab" * 32}, ", fields"),
        ("extra", 1, ""),
    ],
)
def test_a_record_with_an_unknown_field_or_impossible_value_is_named(
    log, name, value, place
):
    data = log.bundle()
    rows = rows_of(data)
    leaf = json.loads(rows[2]) | {name: value}
    rows[2] = verify.canonical(leaf) + b"\n"
    forged = changed(data, records_jsonl=b"".join(rows))
    assert failed_at(forged, trust_in(log)) == f"records.jsonl, record 2{place}"


@pytest.mark.parametrize(
    "row",
    [
        b"{}",
        b"[]",
        b"1",
        b"",
        b"{",
        b"\xff",
        b'{"v":1,"v":1}',
        b'{"v": 1}',
        b'{"v":1.0}',
        b'{"v":NaN}',
        b'{"v":1e2}',
        b'{"v":-0}',
        b'{"a":"\\u0061"}',
        b'{"a":"\\ud800"}',
        b'{"b":1,"a":1}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_row_that_is_not_canonical_json_of_a_record_is_named(log, row):
    data = log.bundle()
    rows = rows_of(data)
    rows[4] = row + b"\n"
    forged = changed(data, records_jsonl=b"".join(rows))
    assert failed_at(forged, trust_in(log)) == "records.jsonl, record 4"


# --- openings ---------------------------------------------------------------------


def with_openings(data, change, at=3):
    rows = verify.unpack(data)["openings.jsonl"].splitlines()
    entry = json.loads(rows[at])
    change(entry)
    rows[at] = verify.canonical(entry)
    return changed(data, openings_jsonl=b"".join(row + b"\n" for row in rows))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("job", "j4"),
        ("job", None),
        ("attempt", 4),
        ("attempt", "3"),
        ("attempt", True),
        ("recipients/1/address", "jan@partner.test"),
        ("hop/port", 24),
        ("hop", {}),
        ("hop", {"host": "ab" * 32, "port": "ab" * 32}),
        ("recipients", []),
        ("recipients", [1]),
    ],
)
def test_an_opening_with_another_value_is_named(log, path, value):
    def change(entry):
        entry["fields"][path]["value"] = value

    place = failed_at(with_openings(log.bundle(), change), trust_in(log))
    assert place == f"openings.jsonl, record 3, {path}"


@pytest.mark.parametrize(
    ("path", "opening"),
    [
        ("unheard", {"key": "ab" * 32, "value": 1}),
        ("job/1", {"key": "ab" * 32, "value": 1}),
        ("recipients/2/address", {"key": "ab" * 32, "value": 1}),
        ("recipients/01/address", {"key": "ab" * 32, "value": 1}),
        ("recipients/1", {"key": "ab" * 32, "value": 1}),
        ("job", {"key": "ab" * 31, "value": 1}),
        ("job", {"key": "AB" * 32, "value": 1}),
        ("job", {"key": "ab" * 32}),
        ("job", {"key": "ab" * 32, "more": 1, "value": 1}),
        ("job", []),
        ("job", None),
    ],
)
def test_an_opening_that_belongs_to_nothing_or_is_malformed_is_named(
    log, path, opening
):
    def change(entry):
        entry["fields"][path] = opening

    place = failed_at(with_openings(log.bundle(), change), trust_in(log))
    assert place == f"openings.jsonl, record 3, {path}"


def test_a_fact_without_the_structure_above_it_proves_nothing(log):
    def change(entry):
        del entry["fields"]["hop"]

    place = failed_at(with_openings(log.bundle(), change), trust_in(log))
    assert place == "openings.jsonl, record 3, hop/host"


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(index=7),
        lambda entry: entry.update(index=-1),
        lambda entry: entry.update(index="3"),
        lambda entry: entry.update(index=[]),
        lambda entry: entry.update(fields=[]),
        lambda entry: entry.update(more=1),
        lambda entry: entry.pop("fields"),
    ],
)
def test_openings_of_no_record_of_the_bundle_are_named_by_line(log, change):
    place = failed_at(with_openings(log.bundle(), change), trust_in(log))
    assert place == "openings.jsonl, line 4"


def test_openings_of_one_record_twice_or_out_of_order_are_found(log):
    rows = verify.unpack(log.bundle())["openings.jsonl"].splitlines(keepends=True)
    for wrong in ([*rows, rows[6]], [rows[1], rows[0], *rows[2:]]):
        data = changed(log.bundle(), openings_jsonl=b"".join(wrong))
        assert failed_at(data, trust_in(log)) == "openings.jsonl"


def test_a_place_cannot_steer_a_terminal(log):
    def change(entry):
        entry["fields"] = {"\x1b[2Jé\u202e": {"key": "ab" * 32, "value": 1}}

    report = verify.verify_bundle(with_openings(log.bundle(), change), trust_in(log))
    assert report.text().isascii()
    assert "\x1b" not in report.text()
    assert "\\x1b[2J" in report.finding["place"]


# --- manifest, proofs, checkpoints ------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("counts", {"openings": 6, "records": 7}, "counts"),
        ("counts", {"openings": True, "records": 7}, "counts"),
        ("earlier", 3, "earlier"),
        ("format", "ketenmail-evidence-bundle/2", "format"),
        ("origin", "gw.example.test/other", "origin"),
        ("size", 8, "size"),
        ("more", None, "more"),
        ("key", None, "key"),
        ("key", "a+b", "key"),
        ("ranges", None, "ranges"),
        ("ranges", [], "ranges"),
        ("ranges", [[7, 0]], "ranges"),
        ("ranges", [[0, 8]], "ranges"),
        ("ranges", [[0, True]], "ranges"),
        ("ranges", [[0, 4, 7]], "ranges"),
        ("ranges", [[0, 4], [3, 7]], "ranges"),
        ("ranges", [0, 7], "ranges"),
    ],
)
def test_a_manifest_that_contradicts_the_bundle_is_named_by_key(
    log, name, value, place
):
    data = log.bundle()
    manifest = json.loads(verify.unpack(data)["manifest.json"]) | {name: value}
    forged = changed(data, manifest_json=verify.canonical(manifest))
    assert failed_at(forged, trust_in(log)) == f"manifest.json, {place}"


def test_a_manifest_that_leaves_something_out_is_named_by_key(log):
    data = log.bundle()
    for name in ("earlier", "counts", "size"):
        manifest = json.loads(verify.unpack(data)["manifest.json"])
        del manifest[name]
        forged = changed(data, manifest_json=verify.canonical(manifest))
        assert failed_at(forged, trust_in(log)) == f"manifest.json, {name}"


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {"ranges": []},
        {"ranges": [[], []]},
        {"ranges": [["ab"]]},
        {"ranges": [["AB" * 32]]},
        {"ranges": [None]},
        {"more": 1, "ranges": [[]]},
    ],
)
def test_a_malformed_proof_is_refused(log, proof):
    data = changed(log.bundle(), proof_json=verify.canonical(proof))
    assert failed_at(data, trust_in(log)) == "proof.json"


def test_a_proof_too_long_too_short_or_wrong_is_refused(log):
    data = log.bundle(log.range(2, 5))
    steps = json.loads(verify.unpack(data)["proof.json"])["ranges"][0]
    assert len(steps) == 3
    for wrong in (
        steps[:-1],
        [*steps, "ab" * 32],
        ["ab" * 32, *steps[1:]],
        steps[::-1],
    ):
        forged = changed(data, proof_json=verify.canonical({"ranges": [wrong]}))
        assert failed_at(forged, trust_in(log)) == "records.jsonl, records 2 to 4"


def test_a_consistency_proof_too_long_too_short_or_wrong_is_refused(log):
    for size in (0, 3, 7):
        data = log.bundle(earlier=log.earlier(size))
        steps = json.loads(verify.unpack(data)["consistency.json"])["hashes"]
        wrong = [[*steps, "ab" * 32], steps[:-1], steps[::-1], ["ab" * 32, *steps[1:]]]
        for each in wrong:
            if each != steps:
                text = verify.canonical({"hashes": each})
                forged = changed(data, consistency_json=text)
                assert failed_at(forged, trust_in(log)) == "consistency.json"


def test_an_earlier_checkpoint_of_later_is_refused(log):
    longer = evidence_log.make_log(9)
    earlier = type(log.earlier(3))(longer.note(), ())
    assert failed_at(log.bundle(earlier=earlier), trust_in(log)) == "consistency.json"


def resigned(log, text, line="{}"):
    key_id = checkpoint.key_id(log.signer.name, log.signer.public_key)
    signature = base64.b64encode(key_id + log.signer.sign(text.encode())).decode()
    return f"{text}\n— {log.signer.name} {line.format(signature)}\n".encode()


def test_a_checkpoint_that_is_not_exactly_one_is_refused(log):
    text = log.note().rpartition("\n\n")[0] + "\n"
    origin, size, root = text.split("\n")[:3]
    wrong = [
        resigned(log, f"{origin}x\n{size}\n{root}\n"),
        resigned(log, f"{origin}\n0{size}\n{root}\n"),
        resigned(log, f"{origin}\n{size}\n{root}\nmore\n"),
        resigned(log, f"{origin}\n{size}\n{root[4:]}\n"),
        resigned(log, text, "{} x"),
        resigned(log, text, "AAAA{}"),
        resigned(log, text)[:-1],
        resigned(log, text) + b"\n",
        resigned(log, text) + "— other !!!!\n".encode(),
        resigned(log, text) + "— other AAB=\n".encode(),
        resigned(log, text) + b"\xff",
        resigned(log, text) + resigned(log, text + "x").rpartition(b"\n\n")[2],
        text.encode(),
        text.encode() + "\n— other AAAAAAAA\n".encode(),
        b"",
    ]
    assert verify.verify_bundle(
        changed(log.bundle(), checkpoint_txt=resigned(log, text)), trust_in(log)
    )
    for note in wrong:
        data = changed(log.bundle(), checkpoint_txt=note)
        assert failed_at(data, trust_in(log)) == "checkpoint.txt", note


# --- keys and command line --------------------------------------------------------


def test_a_key_is_read_from_all_the_forms_people_have(log):
    key = log.signer.key
    plain = verify.read_trust(key)
    shown = checkpoint.fingerprint(log.signer.name, log.signer.public_key)
    spaced = ":".join(plain[at : at + 2] for at in range(0, 64, 2)).upper()
    for text in (f" {key}\n", shown, plain, plain.upper(), spaced, f"sha256:{spaced}"):
        assert verify.read_trust(text) == plain


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key.replace("+", " "),
        lambda key: key[:-1] + "é",
        lambda key: "x" + key,
        lambda _: "ab" * 31,
        lambda key: key.rpartition("+")[0],
    ],
)
def test_what_is_no_key_is_not_taken_for_one(log, change):
    with pytest.raises(verify.Bad):
        verify.read_trust(change(log.signer.key))


def test_a_key_of_another_algorithm_is_refused(log):
    octets = b"\2" + log.signer.public_key
    key_id = evidence_log.hashlib.sha256(log.signer.name.encode() + b"\n" + octets)
    text = f"{log.signer.name}+{key_id.hexdigest()[:8]}+"
    with pytest.raises(verify.Bad):
        verify.read_trust(text + base64.b64encode(octets).decode())


@pytest.fixture
def disk(log, tmp_path):
    (tmp_path / "bundle.zip").write_bytes(log.bundle(earlier=log.earlier(3)))
    (tmp_path / "forged.zip").write_bytes(log.bundle()[:-1])
    (tmp_path / "log.key").write_text(log.signer.key + "\n")
    (tmp_path / "kept.txt").write_text(log.note(3))
    (tmp_path / "junk.key").write_text("junk")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bundle.zip", "--key", "log.key"], 0, "verdict: verified"),
        (["bundle.zip", "--checkpoint", "kept.txt"], 0, "verdict: verified"),
        (["bundle.zip"], 1, "verdict: consistent, origin not proven"),
        (["bundle.zip", "--key", ""], 1, "verdict: consistent, origin not proven"),
        (["forged.zip", "--key", "log.key"], 1, "verdict: failed"),
        (["bundle.zip", "--key", "ab" * 32], 1, "place: manifest.json, key"),
        (["bundle.zip", "--key", "log.key", "--json"], 0, '"verdict":"verified"'),
        (["bundle.zip", "--key", "junk.key"], 2, ""),
        (["bundle.zip", "--key", "absent.key"], 2, ""),
        (["absent.zip", "--key", "log.key"], 2, ""),
        (["bundle.zip", "--checkpoint", "absent.txt"], 2, ""),
        ([], 2, ""),
    ],
)
def test_the_command_line_answers_with_code_and_words(
    disk, monkeypatch, capsys, arguments, code, words
):
    monkeypatch.chdir(disk)
    try:
        given = verify.main(arguments)
    except SystemExit as stop:
        given = stop.code
    assert given == code
    assert words in capsys.readouterr().out


def test_the_report_in_json_has_all_of_it(disk, monkeypatch, capsys):
    monkeypatch.chdir(disk)
    verify.main(["bundle.zip", "--key", "log.key", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"verdict", "exit_code", "finding", "facts"}
    assert report["facts"]["time-stamp"] == "not checked"


def test_the_verifier_out_of_the_bundle_runs_alone_and_without_a_network(log, disk):
    source = verify.unpack((disk / "bundle.zip").read_bytes())["verify.py"]
    (disk / "verify.py").write_bytes(source)
    command = ["unshare", "-n", sys.executable, "-I", "verify.py", "bundle.zip"]
    good = subprocess.run(
        [*command, "--key", log.signer.key], cwd=disk, capture_output=True
    )
    poor = subprocess.run(command, cwd=disk, capture_output=True)
    assert (good.returncode, good.stderr) == (0, b"")
    assert b"verdict: verified\n" in good.stdout
    assert b"time-stamp: not checked" in good.stdout
    assert poor.returncode == 1


def test_the_verifier_is_a_script(log, disk, monkeypatch, capsys):
    bundle = str(disk / "bundle.zip")
    monkeypatch.setattr(sys, "argv", ["verify.py", bundle, "--key", log.signer.key])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(evidence_log.VERIFIER), run_name="__main__")
    assert "verdict: verified" in capsys.readouterr().out


def test_the_verifier_is_one_short_file_of_standard_library_and_cryptography():
    text = evidence_log.VERIFIER.read_text()
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported <= sys.stdlib_module_names | {"cryptography"}
    assert not imported & {"socket", "urllib", "http", "sqlite3", "subprocess"}
    assert len(text.splitlines()) <= 400


def test_every_finding_has_one_line_in_each_language():
    codes = [row.partition(":")[0] for row in verify.SAYS.split("\n") if row]
    assert codes[::2] == codes[1::2]
    assert len(set(codes)) == len(codes) // 2
    for code in set(codes):
        others = {other for other in codes if other.startswith(code)}
        assert others == {code}
    source = evidence_log.VERIFIER.read_text()
    for code in set(codes):
        assert f'"{code}"' in source, code
