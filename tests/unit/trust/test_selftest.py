"""The self-test sees each weakness that settings or code could bring back (C-03 … C-06)."""

import pathlib
import re
import ssl
import subprocess
import sys

import pytest

from gateway.trust import hardening, selftest

ROOT = pathlib.Path(__file__).parents[3]
CHILD = pathlib.Path(__file__).with_name("hardened_child.py")
SHIPPED = hardening.configuration(ssl.OPENSSL_VERSION_INFO)


def found(configuration, *statements):
    """What a process with this configuration finds."""
    child = subprocess.run(
        [sys.executable, str(CHILD), *statements],
        env={"OPENSSL_CONF": str(configuration), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout.strip()


@pytest.fixture
def doctored(tmp_path):
    """A shipped file with one line changed."""

    def change(name, value):
        text, count = re.subn(
            rf"(?m)^{name} = .*$", f"{name} = {value}", SHIPPED.read_text("utf-8")
        )
        assert count == 1
        path = tmp_path / "doctored.cnf"
        path.write_text(text, "utf-8")
        return path

    return change


def test_c_03_nothing_is_found_when_the_shipped_file_is_in_force():
    assert found(SHIPPED) == "None"


def test_c_04_a_file_that_is_not_there_is_found(tmp_path):
    assert re.match("accepted: |failed: ", found(tmp_path / "none.cnf"))


GROUPS = "X25519:P-256:X448:P-384:P-521"
SIGNATURES = "ECDSA+SHA256:RSA+SHA256:rsa_pss_rsae_sha256:ed25519"


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("Groups", "X25519:P-256:no-such-group", "accepted: group ffdhe2048"),
        ("SignatureAlgorithms", f"{SIGNATURES}:no+such", "accepted: SHA-224"),
    ],
)
def test_c_04_one_unknown_name_in_the_file_is_found(doctored, name, value, finding):
    # Newer OpenSSLs (3.5, 4.0) make no context with a line that they cannot read.
    assert found(doctored(name, value)).startswith((finding, "failed: "))


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("Groups", f"{GROUPS}:ffdhe2048", "accepted: group ffdhe2048"),
        ("Groups", f"{GROUPS}:ffdhe3072", "accepted: group ffdhe3072"),
        ("Groups", f"{GROUPS}:ffdhe8192", "offered: group 0x0104"),
        ("Groups", f"{GROUPS}:secp224r1", "accepted: group P-224"),
        ("Groups", f"{GROUPS}:brainpoolP256r1", "offered: group 0x001a"),
        ("Groups", "P-256", "refused: TLS 1.3, X25519"),
        ("Groups", "X25519", "failed: "),
        ("SignatureAlgorithms", f"{SIGNATURES}:ECDSA+SHA224", "accepted: SHA-224"),
        (
            "SignatureAlgorithms",
            f"{SIGNATURES}:RSA+SHA224",
            "offered: signature 0x0301",
        ),
        ("Ciphersuites", "TLS_AES_128_CCM_8_SHA256", "refused: TLS 1.3, X25519"),
        (
            "Ciphersuites",
            "TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_8_SHA256",
            "offered: suite 0x1305",
        ),
    ],
)
def test_c_04_a_weaker_file_is_found(doctored, name, value, finding):
    assert found(doctored(name, value)).startswith(finding)


@pytest.mark.parametrize(
    ("finding", "statements"),
    [
        ("accepted: ECDHE-CBC", ["server.set_ciphers('ECDHE+AES')"]),
        ("refused: TLS 1.3, X25519", ["server.set_ecdh_curve('prime256v1')"]),
        (
            "refused: TLS 1.3, X25519",
            ["server.maximum_version = ssl.TLSVersion.TLSv1_2"],
        ),
        ("refused: TLS 1.2", ["server.minimum_version = ssl.TLSVersion.TLSv1_3"]),
        ("offered: suite 0x", ["client.set_ciphers('ECDHE')"]),
        ("offered: suite 0x009c", ["client.set_ciphers('AES128-GCM-SHA256')"]),
        ("failed: ", ["client.set_ecdh_curve('secp224r1')"]),
        (
            "offered: version 0x0302",
            [
                "client.set_ciphers('ECDHE+AESGCM:@SECLEVEL=0')",
                "client.minimum_version = ssl.TLSVersion.TLSv1_1",
            ],
        ),
    ],
)
def test_c_01_c_02_c_05_a_weakened_context_is_found(finding, statements):
    assert found(SHIPPED, *statements).startswith(finding)


@pytest.mark.parametrize(
    ("finding", "statements"),
    [
        (
            "accepted: SHA-1",
            ["server.set_ciphers('ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0')"],
        ),
        (
            "offered: signature 0x0203",
            ["client.set_ciphers('ECDHE+AESGCM:@SECLEVEL=0')"],
        ),
        (
            "accepted: TLS 1.1",
            [
                "server.set_ciphers('ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0')",
                "server.set_ciphers('ECDHE+AES:@SECLEVEL=0')",
                "server.minimum_version = ssl.TLSVersion.TLSv1_1",
            ],
        ),
    ],
)
def test_c_01_c_03_what_two_settings_would_let_in_is_found(
    doctored, finding, statements
):
    """SHA-1 and TLS 1.1 are kept out by OpenSSL's security level, too."""
    with_sha_1 = doctored("SignatureAlgorithms", f"{SIGNATURES}:ECDSA+SHA1")
    assert finding == found(with_sha_1, *statements)


def test_c_05_no_context_of_ours_is_narrowed_to_one_curve():
    narrowing = {
        path.name
        for path in (ROOT / "gateway").rglob("*.py")
        if "set_ecdh_curve" in path.read_text("utf-8")
    }
    assert narrowing == {"selftest.py"}


def test_c_03_the_lists_hold_nothing_that_ncsc_calls_phase_out_or_insufficient():
    """NCSC-NL 2025-05 sections 3.3.3 to 3.3.5, by number in the IANA registry."""
    finite_field, p224, sha1, sha224, md5 = range(256, 261), 21, 2, 3, 1
    assert not selftest.GROUPS & {*finite_field, p224}
    assert not {s >> 8 for s in selftest.SIGNATURES} & {md5, sha1, sha224}
    ccm_8_and_cbc = {0x1305, 0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC024, 0xC027}
    assert not selftest.SUITES & ccm_8_and_cbc
