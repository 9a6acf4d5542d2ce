"""What `deploy/` offers works: parsed, and run by the tools that will read it."""

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from gateway import config
from gateway.model.partner import PartnerState, Requires
from gateway.partnerfile import parse_partner_file
from tests import certs
from tests.peers import presence

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATING = ROOT / "docs" / "operating.md"
SCRIPTS = [*sorted(DEPLOY.glob("*.sh")), ROOT / ".ci" / "run"]


def read(name: str) -> str:
    return (DEPLOY / name).read_text("utf-8")


def run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, **options)


# --- settings -----------------------------------------------------------------------
def test_the_example_settings_are_settings():
    settings = config.parse(read("gateway.toml"))
    assert list(settings.municipalities) == ["voorbeeldstad"]
    assert settings.allow_ranges == ()
    assert all(listener.require_tls for listener in settings.listeners)


def test_the_example_that_init_writes_is_the_one_that_is_documented():
    assert (DEPLOY / "gateway.toml").resolve() == (
        ROOT / "policies" / "gateway.example.toml"
    )


def test_the_example_keeps_keys_apart_from_state():
    settings = config.parse(read("gateway.toml"))
    state = pathlib.PurePath(settings.state_dir)
    for path in (settings.key_dir, settings.master_key):
        assert state not in pathlib.PurePath(path).parents


def test_every_setting_commented_out_is_one_that_exists():
    text = re.sub(r"^# (?=\[|\w+ = )", "", read("gateway.toml"), flags=re.M)
    digest = "<SHA-256 of the client's certificate in DER>"
    settings = config.parse(text.replace(digest, "ab" * 32))
    assert len(settings.listeners) == 2
    assert len(settings.allow_ranges) == 1
    assert settings.clients[0].user == "scanner"
    assert settings.clients[1].tenant is not None
    assert settings.malware is not None
    assert settings.metrics is not None


def test_the_example_partners_are_partners():
    file = parse_partner_file(
        read("partners.toml"),
        config.parse(read("gateway.toml")).municipalities,
        frozenset({"pi_directeur", "zorgaanbieder", "geneesheer_directeur"}),
    )
    assert {partner.state for partner in file.partners} == {PartnerState.VERIFIED}
    assert file.partners[0].route.requires is Requires.DANE
    assert file.partners[1].route.pins


# --- systemd ------------------------------------------------------------------------
def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in read("ketenmail.service").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("User", "ketenmail"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("MemoryDenyWriteExecute", "yes"),
        ("LimitCORE", "0"),
        ("UMask", "0077"),
    ],
)
def test_the_unit_is_hardened(name, value):
    assert directives()[name] == [value]


def test_the_unit_keeps_state_where_the_settings_say():
    settings = config.parse(read("gateway.toml"))
    folders = [f"/var/lib/{name}" for name in directives()["StateDirectory"][0].split()]
    assert folders == [settings.state_dir, settings.key_dir]


def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    presence.need("systemd-analyze", as_root=False)
    unit = tmp_path / "ketenmail.service"
    # It wants the program to be there; everything else is as shipped.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", read(unit.name), flags=re.M)
    unit.write_text(text, "utf-8")
    verified = run("systemd-analyze", "verify", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")
    exposure = run("systemd-analyze", "security", "--offline=true", str(unit))
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", exposure.stdout)
    assert float(level.group(1)) < 2, exposure.stdout


WITHOUT_WRITABLE_CODE = """
import ctypes, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
import argon2, re2, selectolax.lexbor, ahocorasick, pysqlite3, cryptography.x509
import dns.asyncresolver, sqlalchemy, aiosmtpd.smtp, rfc8785
argon2.PasswordHasher(memory_cost=64, time_cost=1).hash("x")
assert re2.compile("a+").search("aa")
assert pysqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
"""


def test_our_libraries_run_without_memory_that_is_both_written_and_run():
    done = run(sys.executable, "-c", WITHOUT_WRITABLE_CODE)
    if done.returncode == 77:
        pytest.skip("this kernel does not know PR_SET_MDWE (6.3)")
    assert done.returncode == 0, done.stderr


# --- the others ---------------------------------------------------------------------
def test_unbound_accepts_its_settings(tmp_path):
    presence.need("unbound", as_root=False)
    anchor = tmp_path / "root.key"
    anchor.write_text(". 86400 IN DS 20326 8 2 " + "ab" * 32 + "\n", "ascii")
    settings = tmp_path / "unbound.conf"
    text = read("unbound.conf").replace("/var/lib/unbound/root.key", str(anchor))
    settings.write_text(text, "utf-8")
    checked = run(presence.find("unbound-checkconf"), str(settings))
    assert checked.returncode == 0, checked.stderr


def test_every_postfix_setting_that_we_advise_is_one_of_postfix():
    presence.need("postfix", as_root=False)
    known = run(presence.find("postconf"), "-d").stdout
    advised = re.findall(r"^(\w+) = |`(\w+) = ", read("postfix.md"), re.M)
    names = {one or other for one, other in advised}
    assert "relayhost" in names
    assert [n for n in names if not re.search(rf"^{n} =", known, re.M)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid_and_stops_at_the_first_error(path):
    assert run("bash", "-n", str(path)).returncode == 0
    text = path.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert path.stat().st_mode & 0o111


def test_the_container_copies_what_there_is_and_runs_as_nobody_special():
    lines = read("Containerfile").splitlines()
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    absent = [name for name in copied if not (ROOT / name).exists()]
    assert absent in ([], ["README.md"])
    assert "USER ketenmail" in lines
    installs = [line for line in lines if "pip install" in line and "dist" not in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)


def floors() -> list[dict]:
    return tomllib.loads(read("floors.toml"))["floor"]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


@pytest.mark.parametrize("floor", floors(), ids=lambda floor: floor["what"])
def test_a_floor_says_fix_effect_and_how_to_see_it(floor):
    assert floor["effect"] in {"stop", "feature", "warn"}
    assert ("feature" in floor) == (floor["effect"] == "feature")
    assert floor["fix"]
    assert ("python" in floor) != ("package" in floor)
    for revision in floor.get("debian", {}).values():
        compared = run("dpkg", "--compare-versions", revision, "ge", revision)
        assert (compared.returncode, compared.stderr) == (0, "")


def test_what_is_locked_meets_the_floors():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    ours = {f["python"]: f["upstream"] for f in floors() if "python" in f}
    sqlite = ours.pop("pysqlite3")
    for name, upstream in ours.items():
        locked = re.search(rf"^{name}==(\S+)", lock, re.M).group(1)
        assert numbers(locked) >= numbers(upstream), name
    import pysqlite3

    assert numbers(pysqlite3.sqlite_version) >= numbers(sqlite)


def test_a_pin_computed_as_documented_is_the_pin_that_is_demanded(tmp_path):
    presence.need("openssl", as_root=False)
    command = re.search(
        r"^openssl x509 -in server\.crt.*$", OPERATING.read_text(), re.M
    )
    for kind in ("ec", "rsa"):
        server = certs.self_signed(["mx.partner.test"], key=kind)
        (tmp_path / "server.crt").write_bytes(server.chain_pem)
        done = run("bash", "-c", command.group(), cwd=tmp_path)
        assert done.stdout.split()[-1] == server.pin.spki_sha256
