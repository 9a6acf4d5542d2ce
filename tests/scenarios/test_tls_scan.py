"""TLS of a running gateway against NCSC-NL's table, by testssl.sh and openssl (C-01 … C-06).

One listener has an ECDSA certificate, the other an RSA one: what a server refuses can
depend on its key. Each offer that the gateway refuses is taken by a server without our
limits, so that a refusal is ours and not the probe's.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys

import pytest

from gateway.trust import hardening
from tests import certs
from tests.peers import daemon, gateway, openssl, presence

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("tls-scan")]

ROOT = pathlib.Path(__file__).parents[2]
CA = certs.make_ca("Scan")
OURS = hardening.configuration(ssl.OPENSSL_VERSION_INFO)


@pytest.fixture(autouse=True, scope="module")
def _peers():
    presence.need("testssl", "openssl")


@dataclasses.dataclass(frozen=True)
class Listener:
    """Where to knock, and how."""

    running: gateway.Gateway
    port: int
    starttls: bool

    def shake(self, *options):
        address = self.running.address
        return openssl.shake(address, self.port, *options, starttls=self.starttls)


@pytest.fixture(scope="module")
def running(_peers):
    """A gateway with an RSA certificate at its implicit listener."""
    with gateway.run(CA, "127.0.0.1", "0" * 64, serve=False) as made:
        rsa = certs.issue(CA, ["gw.gemeente.test"], key="rsa3072")
        files = rsa.write(made.place, "rsa")
        before, after = made.config.read_text("utf-8").split('tls = "implicit"')
        after = re.sub(
            r'certificate = ".*"\nkey = ".*"',
            f'certificate = "{files.certificate}"\nkey = "{files.key}"',
            after,
            count=1,
        )
        made.config.write_text(f'{before}tls = "implicit"{after}', "utf-8")
        made.start()
        yield made


STARTTLS, IMPLICIT = "starttls-ecdsa", "implicit-rsa"


@pytest.fixture(scope="module", params=[STARTTLS, IMPLICIT])
def listener(running, request):
    starttls = request.param == STARTTLS
    port = gateway.PORT if starttls else gateway.IMPLICIT_PORT
    return Listener(running, port, starttls)


# --- NCSC-NL TLS guidelines 2025-05 ---------------------------------------------------
PROTOCOLS = {
    **dict.fromkeys(("SSLv2", "SSLv3", "TLS1", "TLS1_1"), "insufficient"),
    "TLS1_2": "sufficient",
    "TLS1_3": "good",
}
OURS_IN_1_2 = frozenset(
    f"ECDHE-{key}-{suite}"
    for key in ("ECDSA", "RSA")
    for suite in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
)
SUITES = {  # what is not here is worse, or not ours
    **dict.fromkeys(OURS_IN_1_2, "sufficient"),
    "TLS_AES_256_GCM_SHA384": "good",
    "TLS_CHACHA20_POLY1305_SHA256": "good",
    "TLS_AES_128_GCM_SHA256": "sufficient",
}
GROUPS = {
    **dict.fromkeys(("X25519MLKEM768", "SecP256r1MLKEM768"), "good"),
    "SecP384r1MLKEM1024": "good",
    **dict.fromkeys(("X25519", "X448", "prime256v1"), "sufficient"),
    **dict.fromkeys(("secp384r1", "secp521r1"), "sufficient"),
}
ENOUGH = {"good", "sufficient"}


@pytest.fixture(scope="module")
def scans(running, tmp_path_factory):
    """What testssl.sh finds at both listeners, side by side: id -> finding."""
    place = tmp_path_factory.mktemp("scan")
    runs = {}
    for name, port, upgrade in (
        (STARTTLS, gateway.PORT, ("-t", "smtp")),
        (IMPLICIT, gateway.IMPLICIT_PORT, ()),
    ):
        argv = [
            *("testssl", "--quiet", "--color", "0", "--warnings", "off"),
            *("--nodns", "none", "--jsonfile", str(place / f"{name}.json"), *upgrade),
            # protocols, kinds of suites, suites and groups with forward secrecy,
            # renegotiation, compression
            *("-p", "-s", "-f", "-R", "-C", f"{running.address}:{port}"),
        ]
        runs[name] = daemon.Daemon(argv, place / f"{name}.txt")
    for run in runs.values():
        ended = daemon.until(lambda run=run: not daemon.members(run.pid), 240)
        run.stop()
        assert ended
    return {
        name: {
            row["id"]: row["finding"]
            for row in json.loads((place / f"{name}.json").read_text("utf-8"))
        }
        for name in runs
    }


@pytest.fixture(params=[STARTTLS, IMPLICIT])
def scan(scans, request):
    return scans[request.param]


def test_c_01_the_scan_finds_no_version_below_sufficient(scan):
    graded = {PROTOCOLS[name]: scan[name] for name in PROTOCOLS if name in scan}
    assert set(PROTOCOLS) <= set(scan)
    for name, grade in PROTOCOLS.items():
        is_offered = not scan[name].startswith("not offered")
        assert is_offered == (grade in ENOUGH), graded


def test_c_02_the_scan_finds_no_suite_below_sufficient(scan):
    (key,) = (key for key in scan if re.fullmatch(r"P?FS_ciphers", key))
    suites = frozenset(scan[key].split())
    assert {SUITES.get(name) for name in suites} <= ENOUGH, suites
    assert suites & OURS_IN_1_2
    assert suites >= SUITES.keys() - OURS_IN_1_2
    for kind in ("NULL", "aNULL", "EXPORT", "LOW", "3DES_IDEA"):
        assert scan[f"cipherlist_{kind}"] == "not offered"
    assert scan[cbc(scan)] == "not offered"


def cbc(scan):
    """Its id changed with version 3.2."""
    return (
        "cipherlist_AVERAGE" if "cipherlist_AVERAGE" in scan else "cipherlist_OBSOLETED"
    )


def test_c_03_the_scan_finds_no_group_below_sufficient(scan):
    found = [key for key in scan if re.search(r"FS_(ECDHE_curves|KEMs)$", key)]
    groups = {name for key in found for name in scan[key].split()} - {"No", "KEMs"}
    assert {GROUPS.get(name) for name in groups} <= ENOUGH, groups
    assert {"X25519", "prime256v1"} <= groups
    assert not [key for key in scan if re.search(r"DH_groups$", key)]


def test_c_06_the_scan_finds_no_renegotiation_and_no_compression(scan):
    assert scan["secure_renego"] == "supported"  # the extension of RFC 5746
    assert scan["secure_client_renego"] == "not vulnerable"
    assert scan["CRIME_TLS"].startswith("not vulnerable")


# --- what testssl.sh does not ask -----------------------------------------------------
OLD = ("-cipher", openssl.EVERYTHING)
WITHOUT_AEAD = ":".join(sorted(openssl.every_suite_without_aead()))
REFUSED = {
    "tls-1.0": ("-tls1", *OLD),
    "tls-1.1": ("-tls1_1", *OLD),
    "ffdhe2048": ("-tls1_3", "-groups", "ffdhe2048"),
    "ffdhe3072": ("-tls1_3", "-groups", "ffdhe3072"),
    "p-224": ("-tls1_2", "-groups", "P-224"),
    "sha-224": ("-tls1_2", "-sigalgs", "ECDSA+SHA224:RSA+SHA224"),
    "sha-1": ("-tls1_2", "-sigalgs", "ECDSA+SHA1:RSA+SHA1", *OLD),
    "ccm-8": ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256"),
    "not-aead": ("-tls1_2", "-cipher", f"{WITHOUT_AEAD}:@SECLEVEL=0"),
    "all-but-ours": ("-tls1_2", "-cipher", ":!".join((OLD[1], *OURS_IN_1_2))),
    "static-rsa": ("-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"),
    "dhe": ("-tls1_2", "-cipher", "kDHE:@SECLEVEL=0"),
    "anonymous": ("-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"),
    "ecdhe-cbc": ("-tls1_2", "-cipher", "ECDHE+AES:!AESGCM:!AESCCM:@SECLEVEL=0"),
}
LAX = (
    *OLD,
    *("-groups", "X25519:P-256:P-224:ffdhe2048:ffdhe3072", "-client_renegotiation"),
    *("-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_8_SHA256"),
)


@pytest.fixture(scope="module")
def lax(_peers, tmp_path_factory):
    """The address of a server that takes everything, with an RSA certificate."""
    credential = certs.issue(CA, ["lax.test"], key="rsa3072")
    with openssl.serve(tmp_path_factory.mktemp("lax"), credential, *LAX) as address:
        yield address


@pytest.mark.parametrize("offer", REFUSED)
def test_c_01_c_02_c_03_an_offer_below_sufficient_is_refused(listener, lax, offer):
    assert openssl.shake(lax, openssl.PORT, *REFUSED[offer]).version
    refused = listener.shake(*REFUSED[offer])
    assert not refused.version, refused.transcript


def test_every_suite_without_aead_is_among_the_offers():
    assert len(openssl.every_suite_without_aead()) > 50
    assert "ECDHE-RSA-AES256-SHA384" in openssl.every_suite_without_aead()


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384", "P-521", "X448"])
def test_c_05_a_peer_with_one_good_group_only_is_served(listener, group):
    assert listener.shake("-tls1_3", "-groups", group).version == "TLSv1.3"


@pytest.mark.parametrize("group", ["X25519", "P-256"])
def test_c_05_a_peer_of_tls_1_2_with_one_good_group_only_is_served(listener, group):
    # The curve of a certificate counts as a group there (RFC 8422 section 5.1.1).
    also = ":P-256" if listener.starttls and group != "P-256" else ""
    assert listener.shake("-tls1_2", "-groups", f"{group}{also}").version == "TLSv1.2"


def test_c_06_c_12_tls_1_2_has_master_secret_and_no_compression_or_ticket(listener):
    seen = listener.shake("-tls1_2").transcript
    assert "Extended master secret: yes" in seen
    assert "Secure Renegotiation IS supported" in seen
    assert "Compression: NONE" in seen
    assert "session ticket" not in seen.lower()


R = ("R",) * 11
RENEWED = re.compile(r"(?s)RENEGOTIATING.*verify return:1")


def test_a_51_a_session_that_renegotiates_eleven_times_is_cut(running, lax):
    def type_r(address, port, after, lines):
        return openssl.type_into(address, port, "-tls1_2", after=after, lines=lines)

    renewed = type_r(lax, openssl.PORT, "Extended master secret", ("R", "Q"))
    cut = type_r(running.address, gateway.IMPLICIT_PORT, "220 ", R)

    assert RENEWED.search(renewed), renewed
    assert cut.count("RENEGOTIATING") == 1
    assert not RENEWED.search(cut)
    assert "no renegotiation" in cut


def test_c_03_every_process_of_the_gateway_has_our_configuration(running):
    ids = daemon.members(running.process.pid)
    variables = {
        variable
        for one in ids
        for variable in pathlib.Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
        if variable.startswith(b"OPENSSL_CONF=")
    }
    assert len(ids) >= 4  # supervisor, sequencer, two workers
    assert variables == {f"OPENSSL_CONF={OURS}".encode()}


def test_c_04_a_gateway_with_a_doctored_file_does_not_start(running, tmp_path):
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway")
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    file = tmp_path / "gateway" / "trust" / OURS.name
    good = file.read_text("utf-8")
    file.write_text(good.replace(":P-256:", ":P-256:no-such-group:"), "utf-8")

    done = subprocess.run(
        running.command("serve"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "LANG": "en_GB.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 3
    assert "TLS is weaker than it must be" in done.stderr
    assert f"Put back {file} as it was shipped" in done.stderr


# --- the way out ----------------------------------------------------------------------
DIAL = """
import socket, ssl, sys
from gateway.net import tls
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as wire:
    try:
        print(tls.client_context().wrap_socket(wire, server_hostname="a.test").version())
    except ssl.SSLError:
        pass
"""
SERVERS = {
    "tls-1.1": (("-tls1_1", *OLD), ""),
    "ffdhe2048": (("-tls1_3", "-groups", "ffdhe2048"), ""),
    "p-224": (("-tls1_2", "-groups", "P-224"), ""),
    "sha-224": (("-tls1_2", "-sigalgs", "RSA+SHA224"), ""),
    "not-aead": (("-tls1_2", "-cipher", f"{WITHOUT_AEAD}:@SECLEVEL=0"), ""),
    "x25519": (("-groups", "X25519"), "TLSv1.3"),
    "p-256": (("-groups", "P-256"), "TLSv1.3"),
    "tls-1.2": (("-tls1_2",), "TLSv1.2"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_c_01_c_03_a_next_hop_below_sufficient_is_refused(tmp_path, server):
    options, version = SERVERS[server]
    credential = certs.issue(CA, ["a.test"], key="rsa3072")
    with openssl.serve(tmp_path, credential, *options) as address:
        lax = openssl.shake(
            address, openssl.PORT, *OLD, "-groups", "X25519:P-256:P-224:ffdhe2048"
        )
        ours = subprocess.run(
            [sys.executable, "-c", DIAL, address, str(openssl.PORT)],
            env={**os.environ, "OPENSSL_CONF": str(OURS), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert lax.version, lax.transcript
    assert ours.stdout.strip() == version
