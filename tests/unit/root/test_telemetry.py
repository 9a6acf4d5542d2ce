"""Logs: a closed list of events and fields, and never a reason that mail stops."""

import ast
import io
import json
import pathlib
import sys

import pytest

from gateway import telemetry

ROOT = pathlib.Path(__file__).parents[3]


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_event_fields_and_an_instant_in_utc(capsys):
    log = telemetry.make_log(worker="mail-1")
    log("message-accepted", message="m-1", code="2.0.0")
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "message-accepted",
        "worker": "mail-1",
        "message": "m-1",
        "code": "2.0.0",
    }


def test_a_field_outside_the_list_is_dropped_and_the_line_is_written(capsys):
    log = telemetry.make_log()
    log("attempt-failed", job="j-1", recipient="kanarie@geel.example")
    (line,) = lines(capsys)
    assert line["job"] == "j-1"
    assert "kanarie" not in json.dumps(line)


def test_an_event_outside_the_list_is_written_without_its_name_and_fields(capsys):
    log = telemetry.make_log()
    log("mail van kanarie@geel.example", job="j-1")
    (line,) = lines(capsys)
    assert line["event"] == "unlisted-event"
    assert set(line) == {"event", "timestamp"}


def test_a_line_end_in_a_field_does_not_make_a_second_line(capsys):
    telemetry.make_log()("reload", status="done\n{}", error='"')
    (line,) = lines(capsys)
    assert line["status"] == "done\n{}"


class Full(io.StringIO):
    """A log file on a disk without room."""

    def write(self, _text):
        raise OSError(28, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Full(), closed()], ids=["full", "closed"])
def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    telemetry.make_log()("message-accepted", message="m-1")


def test_no_field_is_named_after_what_may_not_be_logged():
    forbidden = {"address", "recipient", "sender", "reverse_path", "subject", "body"}
    assert not forbidden & telemetry.FIELDS


def logged():
    """Each call of a log function in the code: the event and the names of its fields."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            event = getattr(node.args[0], "value", None)
            if called in {"log", "_log"} and isinstance(event, str):
                yield event, {keyword.arg for keyword in node.keywords}


def test_every_event_that_the_code_logs_is_on_the_list():
    used = {event for event, _ in logged()}
    assert {"worker-started", "intake-full", "lease-lost", "reload"} <= used
    assert used - telemetry.EVENTS == set()


def test_every_field_that_the_code_logs_is_on_the_list():
    used = set().union(*(fields for _, fields in logged()))
    assert {"client", "job", "fault", "error"} <= used
    assert used - telemetry.FIELDS == set()
