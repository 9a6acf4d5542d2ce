"""What `doctor`, `config check`, `init` and `serve` look at."""

import asyncio
import contextlib
import dataclasses
import datetime
import errno
import pathlib
import socket
import ssl
import threading

import pytest

from gateway import app
from gateway.cli import examination, mail, setup
from gateway.cli.output import Refusal, Speaker, written_whole
from gateway.cli.partners import check_regimes
from gateway.config import parse
from gateway.model.errors import RegistryError
from gateway.parties import ListenerTls
from gateway.partnerfile import parse_partner_file
from gateway.store.evidence import SqlEvidence
from gateway.store.migrate import migrate
from tests import certs

NOW = datetime.datetime.now(datetime.UTC)
LATER = NOW + datetime.timedelta(days=90)


def speaker() -> Speaker:
    return Speaker("en", "gateway.toml")


@pytest.fixture
def config(tmp_path):
    """Settings of one municipality that are finished, with a good certificate."""
    files = certs.self_signed(["gw.gem.test"], not_after=LATER).write(
        tmp_path, "gateway"
    )
    return parse(f"""
[gateway]
hostname = "gw.gem.test"
state_dir = "{tmp_path}"
[keys]
directory = "{tmp_path}/keys"
master_key_file = "{tmp_path}/master.key"
[[listener]]
port = 25
tls = "starttls"
certificate = "{files.certificate}"
key = "{files.key}"
[[municipality]]
id = "gem"
name = "Gem"
sender_domains = ["gem.test"]
notices_from = "gw@gem.test"
[municipality.route]
method = "fixed"
host = "10.0.0.1"
pins = ["{"ab" * 32}"]
[municipality.alternative_person]
nl = "portaal"
en = "portal"
[municipality.alternative_unknown]
nl = "bel"
en = "call"
[[client]]
id = "mta"
municipality = "gem"
networks = ["10.0.0.0/24"]
""")


def odd(config) -> list[tuple[str, str]]:
    found = examination.to_be_filled_in(speaker(), config)
    assert all(f.level == "ok" or (f.detail and f.remedy) for f in found)
    return [
        (finding.level, finding.where)
        for finding in examination.to_be_filled_in(speaker(), config)
        if finding.level != "ok"
    ]


def test_finished_settings_leave_nothing_to_do(config):
    assert odd(config) == []


def test_what_is_still_as_in_the_example_is_named(config):
    text = config.text.replace("gem.test", "gem.example").replace("ab" * 32, "0" * 64)
    text = text[: text.index("[municipality.alternative_person]")]
    text += '[[client]]\nid="m"\nmunicipality="gem"\nnetworks=["10.0.0.0/24"]\n'
    assert odd(parse(text)) == [
        ("warn", "gateway.hostname"),
        ("warn", "municipality[1]"),
        ("fail", "municipality[1].route.pins"),
        ("warn", "municipality[1].alternative_person"),
        ("warn", "municipality[1].alternative_unknown"),
        ("warn", "listener[1].certificate"),  # of another name than the host's
    ]


def with_certificate(config, tmp_path, credential):
    credential.write(tmp_path, "gateway")
    return config


@pytest.mark.parametrize(
    ("names", "days", "expected"),
    [
        (["gw.gem.test"], 90, []),
        (["other.test", "GW.gem.test"], 90, []),
        (["*.gem.test"], 90, []),
        (["gw.gem.test"], 20, [("warn", "listener[1].certificate")]),
        (["gw.gem.test"], -1, [("fail", "listener[1].certificate")]),
        (["other.test"], 90, [("warn", "listener[1].certificate")]),
        ([], 90, [("warn", "listener[1].certificate")]),
    ],
)
def test_a_certificate_is_judged_by_date_and_name(
    config, tmp_path, names, days, expected
):
    made = certs.self_signed(
        names,
        not_before=NOW - datetime.timedelta(days=100),
        not_after=NOW + datetime.timedelta(days=days, hours=1),
    )
    made.write(tmp_path, "gateway")
    assert odd(config) == expected


def test_a_missing_certificate_or_key_names_the_file(config, tmp_path):
    for name, key in (("gateway.key", "key"), ("gateway.crt", "certificate")):
        (tmp_path / name).unlink()
        (finding,) = examination.look_at_certificates(speaker(), config)
        assert (finding.level, finding.where) == ("fail", f"listener[1].{key}")
        assert finding.detail == f"{tmp_path / name}: does not exist"


def test_a_key_that_everybody_can_read_is_refused(config, tmp_path):
    (tmp_path / "gateway.key").chmod(0o644)
    assert odd(config) == [("fail", "listener[1].key")]


def test_a_key_of_another_certificate_is_refused(config, tmp_path):
    (tmp_path / "gateway.key").write_bytes(certs.self_signed().key_pem)
    assert odd(config) == [("fail", "listener[1]")]
    (tmp_path / "gateway.crt").write_text("no certificate")
    assert odd(config) == [("fail", "listener[1]")]


def test_a_client_ca_that_is_none_is_refused(config, tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    (listener,) = config.listeners
    listener = dataclasses.replace(listener, client_ca=str(tmp_path / "ca.pem"))
    config = dataclasses.replace(config, listeners=(listener,))
    assert odd(config) == [("fail", "listener[1]")]


def test_an_open_range_is_told_with_its_ports(config):
    text = config.text + '[[net.allow_ranges]]\nrange="10.0.0.0/8"\nports=[26, 25]\n'
    (finding,) = examination.look_at_ranges(speaker(), parse(text))
    assert finding.where == "net.allow_ranges[1]"
    assert finding.detail == "10.0.0.0/8 is open for port 25, 26"


def test_a_doctor_does_not_faint():
    def look():
        yield examination.Finding("ok", "disk", "disk", "fine")
        raise ZeroDivisionError

    good, bad = examination._guarded(speaker(), "disk", look)
    assert (good.level, bad.level) == ("ok", "fail")
    assert bad.detail == "Unexpected error in Ketenmail"
    assert bad.where.startswith("ZeroDivisionError")


# --- ports --------------------------------------------------------------------------
def listening_on(config, address: str, port: int):
    (listener,) = config.listeners
    listener = dataclasses.replace(listener, address=address, port=port)
    return dataclasses.replace(config, listeners=(listener,))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(setup, "_PORT_WITHIN_S", 0)


def test_a_port_that_another_listens_on_is_refused_even_when_shared(config, impatient):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError) as caught:
            setup._check_ports(speaker(), listening_on(config, "127.0.0.1", port))
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.filename == f"listener[1] 127.0.0.1:{port}"
    setup._check_ports(speaker(), listening_on(config, "127.0.0.1", port))  # free again


def test_an_address_of_another_machine_is_refused(config, impatient):
    with pytest.raises(OSError) as caught:
        setup._check_ports(speaker(), listening_on(config, "192.0.2.1", 2525))
    assert caught.value.errno == errno.EADDRNOTAVAIL


# --- partner files and bundles --------------------------------------------------------
PARTNERS = """
municipality = "gem"
[[partner]]
id = "ggz"
name = "GGZ"
roles = ["zorgaanbieder"]
domains = ["ggz.test"]
state = "draft"
[[partner.mailbox]]
address = "a@ggz.test"
regimes = {regimes}
"""


def check(regimes: str) -> None:
    listed = parse_partner_file(
        PARTNERS.replace("{regimes}", regimes), ["gem"], frozenset({"zorgaanbieder"})
    )
    check_regimes(listed, ["wvggz", "pbw18b"])


def test_a_mailbox_may_only_have_regimes_that_exist():
    check('["wvggz", "pbw18b"]')
    with pytest.raises(RegistryError) as caught:
        check('["wvgz"]')
    assert caught.value.place == "partner ggz.mailbox.regimes"
    assert "pbw18b, wvggz" in caught.value.remedy


def test_a_file_gets_its_name_when_it_is_whole_and_is_for_this_user_only(tmp_path):
    path = tmp_path / "bundle.zip"
    with written_whole(path) as partial:
        assert not path.exists()
        partial.write_bytes(b"x")
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_not_finished_leaves_what_was_there(tmp_path):
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"earlier")
    with contextlib.suppress(Refusal), written_whole(path) as partial:
        partial.write_bytes(b"half")
        raise Refusal(1, "", "", "")
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_where_one_cannot_write_is_said_under_the_name_that_was_given(tmp_path):
    for path in (tmp_path / "no" / "b.zip", tmp_path):
        with pytest.raises(OSError) as caught, written_whole(pathlib.Path(path)):
            raise AssertionError
        assert caught.value.filename == str(path)


def test_a_lost_database_is_not_made_anew_under_a_name_that_signed_already(
    config, tmp_path
):
    log = tmp_path / "keys" / "log"
    log.mkdir(parents=True)
    database = tmp_path / "ketenmail.db"
    setup._refuse_a_second_log(speaker(), config)  # never was there
    (log / "old.pub").write_text("old.gem.test/gem+aabbccdd+AAAA\n")
    setup._refuse_a_second_log(speaker(), config)  # another name: another log
    (log / "ours.pub").write_text("gw.gem.test/gem+aabbccdd+AAAA\n")
    for make in (lambda: None, database.touch):
        make()
        with pytest.raises(Refusal) as caught:
            setup._refuse_a_second_log(speaker(), config)
        assert caught.value.place == str(database)
        assert "gw.gem.test/gem" in caught.value.problem
    migrate(config.store_url)
    setup._refuse_a_second_log(speaker(), config)
    database.write_bytes(b"something else" * 100)
    setup._refuse_a_second_log(speaker(), config)  # who opens it will say so


def test_the_facts_of_one_item_stand_on_one_line_and_what_says_nothing_nowhere():
    facts = {
        "level": "certain",
        "helo": "",
        "uncertain": False,
        "exit": 0,
        "cause": None,
        "findings/1/rule": "a",
        "findings/1/count": 2,
        "findings/2/rule": "b",
    }
    assert list(mail.fact_lines(facts)) == [
        "level: certain",
        "exit: 0",
        "findings/1: rule=a count=2",
        "findings/2: rule=b",
    ]


# --- what answers, and what is left ---------------------------------------------------
@contextlib.contextmanager
def answering(greeting: bytes, context: ssl.SSLContext | None = None):
    """A program on a free port that greets everybody; answers the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                with contextlib.closing(connection):
                    connection.sendall(greeting)
                    connection.recv(1)

        thread = threading.Thread(target=greet)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def running(config, port: int) -> examination.Finding:
    (finding,) = examination._look_whether_it_runs(
        speaker(), listening_on(config, "127.0.0.1", port)
    )
    return finding


def test_the_gateway_is_known_by_its_greeting(config):
    with answering(b"220 gw.gem.test ESMTP\r\n") as port:
        assert running(config, port).level == "ok"
    with answering(b"220 postfix.gem.test ESMTP\r\n") as port:
        finding = running(config, port)
    assert finding.level == "warn"
    assert finding.detail == "another program than this gateway answers here"
    assert running(config, port).detail.startswith("nothing answers")  # it is over now


def test_a_listener_with_implicit_tls_is_asked_over_tls(config):
    (listener,) = config.listeners
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(listener.certificate, listener.key)
    implicit = dataclasses.replace(listener, tls=ListenerTls.IMPLICIT)
    config = dataclasses.replace(config, listeners=(implicit,))
    with answering(b"220 gw.gem.test ESMTP\r\n", context) as port:
        assert running(config, port).level == "ok"


def test_a_resolver_that_is_silent_is_a_failure_with_its_own_remedy(config):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        text = config.text + f"[dns]\nport = {port}\ntimeout_s = 1\n"
        (finding,) = examination._look_at_resolver(speaker(), parse(text))
    assert (finding.level, finding.where) == ("fail", f"dns.resolver 127.0.0.1:{port}")
    assert "time-out" in finding.detail
    assert "unbound" in finding.remedy


def test_little_room_on_the_disk_is_a_failure(config, monkeypatch):
    monkeypatch.setattr(examination, "_LEAST_FREE", 2**80)
    (finding,) = examination._look_at_disk(speaker(), config)
    assert (finding.level, finding.where) == ("fail", config.state_dir)


def test_a_key_directory_that_others_can_enter_is_a_failure(config, tmp_path):
    app.create(config)
    assert "fail" not in [
        f.level for f in examination._look_at_store(speaker(), config)
    ]
    (tmp_path / "keys").chmod(0o755)
    found = list(examination._look_at_store(speaker(), config))
    assert [f.where for f in found if f.level == "fail"] == ["keys.directory"]


def test_a_clock_that_is_behind_the_evidence_is_a_failure(config):
    app.create(config)

    async def record(at: datetime.datetime, installation: app.Installation) -> None:
        async with installation.store.work() as work:
            loaded = app.config_loaded(config, installation.policy)
            await work.evidence.append(loaded)
        evidence = SqlEvidence(installation.store, "test")
        for origin in await evidence.origins():
            await evidence.integrate(origin, at, 10)
            await evidence.sign(origin, installation.keys.signer(origin), at)
        await evidence.release()

    def levels() -> dict[str, str]:
        found = examination._look_at_store(speaker(), config)
        return {f.where: f.level for f in found if f.subject == "evidence"}

    with contextlib.closing(app.Installation.open(config)) as opened:
        asyncio.run(record(NOW, opened))
        assert levels() == {"gw.gem.test/_gateway": "ok"}
        asyncio.run(record(LATER, opened))
        assert levels() == {"gw.gem.test/_gateway": "fail"}
