import io
import json
import subprocess
import zipfile

import evidence_log
import pytest

from gateway.evidence import bundle, verify
from gateway.model.errors import EvidenceError
from tests.peers import presence


def test_the_same_contents_give_the_same_octets(log):
    assert log.bundle() == evidence_log.make_log(7).bundle()


def test_other_programs_read_the_zip(log, tmp_path):
    presence.need("unzip", as_root=False)
    data = log.bundle(earlier=log.earlier(3))
    (tmp_path / "bundle.zip").write_bytes(data)
    done = subprocess.run(
        ["unzip", "-t", "bundle.zip"], cwd=tmp_path, capture_output=True
    )
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
    assert done.returncode == 0, done.stdout
    assert names == sorted(verify.ALWAYS | verify.EARLIER)


def test_the_zip_is_octet_for_octet_what_an_independent_writer_makes(log):
    data = log.bundle()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in sorted(verify.unpack(data).items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content)
    assert data == written.getvalue()


def test_records_stand_in_the_bundle_as_exactly_the_octets_of_the_leaves(log):
    files = verify.unpack(log.bundle(log.range(2, 5)))
    assert files["records.jsonl"] == b"".join(e.leaf + b"\n" for e in log.encoded[2:5])
    rows = [json.loads(row) for row in files["openings.jsonl"].splitlines()]
    assert [row["index"] for row in rows] == [2, 3, 4]
    assert rows[0]["fields"] == json.loads(log.encoded[2].openings)


def test_the_manifest_says_what_is_in_the_bundle(log):
    manifest = json.loads(verify.unpack(log.bundle(log.range(2, 5)))["manifest.json"])
    assert manifest == {
        "counts": {"openings": 3, "records": 3},
        "earlier": None,
        "format": "ketenmail-evidence-bundle/1",
        "key": log.signer.key,
        "origin": evidence_log.ORIGIN,
        "ranges": [[2, 5]],
        "size": 7,
    }


def test_the_readme_is_the_one_the_verifier_knows(log):
    readme = verify.unpack(log.bundle())["README.txt"].decode()
    assert "NIET uit deze bundel" in readme
    assert "Do NOT take it" in readme
    assert max(map(len, readme.splitlines())) <= 88


@pytest.mark.parametrize(
    "bounds", [[], [(3, 5), (1, 2)], [(1, 4), (3, 5)], [(1, 2), (1, 2)]]
)
def test_ranges_that_do_not_ascend_are_refused(log, bounds):
    ranges = [log.range(first, past) for first, past in bounds]
    with pytest.raises(EvidenceError, match="ascend"):
        bundle.build_bundle(
            note=log.note(), key=log.signer.key, ranges=ranges, verifier=b""
        )


def test_a_range_past_its_checkpoint_is_refused(log):
    with pytest.raises(EvidenceError, match="ascend"):
        log.bundle(log.range(4, 7), note=log.note(6))


def test_a_bundle_beyond_what_zip_can_hold_is_refused(log, monkeypatch):
    monkeypatch.setattr(bundle, "_MOST_OCTETS", 1000)
    with pytest.raises(EvidenceError, match="too large"):
        log.bundle()
