"""Which configuration of OpenSSL, and whose (C-03, C-12); contexts of the listeners (C-06)."""

import os
import pathlib
import ssl
import subprocess
import sys

import pytest

from gateway.net import tls
from gateway.trust import hardening, keystore

ROOT = pathlib.Path(__file__).parents[3]
OURS = str(hardening.configuration(ssl.OPENSSL_VERSION_INFO))


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ((3, 0, 0, 19, 0), "openssl-3.0.cnf"),
        ((3, 4, 9, 0, 0), "openssl-3.0.cnf"),
        ((3, 5, 0, 0, 0), "openssl-3.5.cnf"),
        ((4, 0, 3, 0, 0), "openssl-3.5.cnf"),
    ],
)
def test_c_04_a_library_gets_only_names_that_it_knows(version, name):
    path = hardening.configuration(version)
    assert (path.name, path.is_file()) == (name, True)


def test_c_04_hybrid_groups_stand_only_where_a_library_may_leave_them_out():
    for name in ("openssl-3.0.cnf", "openssl-3.5.cnf"):
        text = hardening.configuration((3,)).with_name(name).read_text("utf-8")
        line = next(x for x in text.splitlines() if x.startswith("Groups"))
        words = line.split(" = ")[1].replace("/", ":").split(":")
        hybrids = [word for word in words if "MLKEM" in word]
        assert all(word.startswith("?") for word in hybrids)
        assert bool(hybrids) == (name == "openssl-3.5.cnf")


def settings(text):
    return [x for x in text.splitlines() if x and not x.startswith(("#", "Groups"))]


def test_c_03_the_two_files_differ_in_their_groups_only():
    folder = hardening.configuration((3,)).parent
    old, new = (folder / f"openssl-{v}.cnf" for v in ("3.0", "3.5"))
    assert settings(old.read_text("utf-8")) == settings(new.read_text("utf-8"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"OPENSSL_CONF": ""}, None),
        ({"OPENSSL_CONF": OURS}, None),
        ({"OPENSSL_CONF": "/etc/ssl/openssl.cnf"}, "/etc/ssl/openssl.cnf"),
    ],
)
def test_c_03_a_configuration_of_somebody_else_is_found(environment, expected):
    assert expected == hardening.foreign_configuration(environment)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SSLKEYLOGFILE": ""}, None),
        ({"SSLKEYLOGFILE": "/tmp/keys"}, "/tmp/keys"),
    ],
)
def test_c_12_a_key_log_is_found(environment, expected):
    assert expected == hardening.key_log(environment)


def started(*command, **environment):
    inherited = {k: v for k, v in os.environ.items() if k not in NAMES}
    return subprocess.run(
        [sys.executable, *command],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


NAMES = ("OPENSSL_CONF", "SSLKEYLOGFILE")
SHOW = """
import sys, ssl  # initialised before, as by a .pth file
ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
import os
from gateway.trust import hardening
print(os.getpid(), os.environ.get("OPENSSL_CONF"), *sys.argv[1:], flush=True)
hardening.reenter()
"""


def test_c_03_the_program_starts_anew_once_as_the_same_process_with_its_arguments():
    lines = started("-c", SHOW, "a b", "c").stdout.splitlines()
    process = lines[0].split()[0]
    assert lines == [f"{process} None a b c", f"{process} {OURS} a b c"]


def test_c_03_the_program_does_not_start_anew_with_somebody_elses_configuration():
    lines = started("-c", SHOW, OPENSSL_CONF="/nowhere").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["/nowhere"]


@pytest.mark.parametrize("verb", ["serve", "demo"])
@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("SSLKEYLOGFILE", "/tmp/keys"), ("OPENSSL_CONF", "/etc/ssl/openssl.cnf")],
)
def test_c_03_c_12_the_start_is_refused_naming_variable_and_remedy(
    verb, language, name, value
):
    done = started("-m", "gateway", "--lang", language, verb, **{name: value})
    place, _problem, remedy = done.stderr.splitlines()[1:]
    assert done.returncode == 2
    assert f"{name}={value}" in place
    assert name in remedy
    assert {"nl": "omgeving", "en": "environment"}[language] in remedy


def test_c_04_the_demo_is_refused_when_the_configuration_is_not_in_force():
    """`reenter` is left out, so that the library has its own defaults."""
    code = "import sys; from gateway.cli import main; main()"
    done = started("-c", code, "--lang", "en", "demo")
    assert done.returncode == 3
    assert "TLS is weaker than it must be (accepted: group ffdhe2048)" in done.stderr
    assert OURS in done.stderr


def test_c_03_a_start_with_our_configuration_goes_on_to_the_settings(tmp_path):
    nowhere = tmp_path / "nowhere.toml"
    done = started("-m", "gateway", "--config", str(nowhere), "--lang", "en", "serve")
    assert "Place:   " + str(nowhere) in done.stderr


WANTED = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET


def test_c_01_c_06_options_of_every_context_are_set_outright():
    server, client = keystore.listener_context(), tls.client_context()
    for context in (server, client):
        assert context.options & WANTED == WANTED
        assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
        assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert server.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert server.protocol is ssl.PROTOCOL_TLS_SERVER
    assert client.protocol is ssl.PROTOCOL_TLS_CLIENT


def test_c_02_suites_of_tls_1_2_are_ecdhe_with_aead():
    for context in (keystore.listener_context(), tls.client_context()):
        old = [c for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"]
        assert old
        assert all(c["kea"] == "kx-ecdhe" and c["aead"] for c in old)


def test_c_12_no_tickets_and_no_key_log():
    context = keystore.listener_context()
    assert context.num_tickets == 0
    assert context.keylog_filename is None
