"""`doctor` about the scanner: whether it answers, and of when its signatures are."""

import contextlib
import datetime
import socket
import threading
import types

import pytest

from gateway.cli import examination
from gateway.cli.output import Speaker
from gateway.services import Malware

TODAY = datetime.datetime.now(datetime.UTC)


def ago(days: int) -> str:
    at = TODAY - datetime.timedelta(days=days)
    return f"ClamAV 1.4.6/27800/{at.strftime('%a %b %d %H:%M:%S %Y')}"


@contextlib.contextmanager
def answering(version: str, pong: str = "PONG"):
    """A program on a free port that answers VERSION and PING; answers the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                for _ in range(2):
                    connection, _source = server.accept()
                    with connection:
                        asked = connection.recv(64)
                        said = version if b"VERSION" in asked else pong
                        connection.sendall(f"{said}\0".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        thread.join(20)


def look(malware: Malware | None) -> list[examination.Finding]:
    config = types.SimpleNamespace(malware=malware)
    return list(examination._look_at_scanner(Speaker("en", "gateway.toml"), config))


@pytest.mark.parametrize(
    ("days", "levels"), [(0, ["ok", "ok"]), (2, ["ok", "ok"]), (5, ["ok", "fail"])]
)
def test_old_signatures_are_a_failure(days, levels):
    with answering(ago(days)) as port:
        found = look(Malware(None, port))
    assert [one.level for one in found] == levels
    assert found[0].where == f"malware 127.0.0.1:{port}"
    if days > 3:
        assert found[1].detail == f"the scanner's signatures are {days} days old"
        assert "freshclam" in found[1].remedy


def test_a_scanner_without_a_date_is_a_warning():
    with answering("ClamAV 1.4.6") as port:
        assert [one.level for one in look(Malware(None, port))] == ["ok", "warn"]


@pytest.mark.parametrize(
    ("version", "pong"), [("220 hello", "PONG"), (ago(0), "?")], ids=["smtp", "no pong"]
)
def test_another_program_is_no_scanner(version, pong):
    with answering(version, pong) as port:
        assert [one.level for one in look(Malware(None, port))] == ["fail"]


def test_without_a_scanner_in_the_settings_nothing_is_said():
    assert look(None) == []
