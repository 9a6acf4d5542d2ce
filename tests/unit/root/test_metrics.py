"""H-21: a closed list of figures, without a word of who sends what to whom."""

import ast
import asyncio
import contextlib
import datetime
import os
import pathlib
import re
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics, telemetry
from gateway.intake import content, ending
from gateway.model.job import JobState
from gateway.model.scan import ScanFault
from gateway.pressure import Mark
from gateway.services import Metrics
from gateway.store.evidence import SqlEvidence
from gateway.store.gauges import Figures, SqlGauges
from tests.contract import store_bed
from tests.peers import loopback

ROOT = pathlib.Path(__file__).parents[3]
FIGURES = Figures(
    {JobState.READY: 1, JobState.LEASED: 2, JobState.WAITING: 3, JobState.HELD: 4},
    oldest_due_s=5.5,
    unsigned_records=6,
    oldest_unsigned_s=7.25,
)
NOW = metrics.Now(FIGURES, 8)
LABELS = {"event", "reason", "state", "le"}


@pytest.fixture
def board():
    return metrics.Board()


def samples(board, now=NOW) -> dict:
    """Each sample by name and values of labels; parsed as Prometheus parses it."""
    text = metrics.render(board, now).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# --- what is counted ------------------------------------------------------------------
def test_every_log_event_counts_with_its_reason(board, capsys):
    log = telemetry.make_log(board.row("mail-1").count, worker="mail-1")
    log("message-accepted", message="m-1", code="2.0.0")
    log("message-accepted", message="m-2", code="2.0.0")
    log("intake-content-refused", client="exchange", fault="nul")
    log("intake-pressure", status="on", reason="disk")
    log("worker-died", worker="mail-2", status=3)
    log("no-such-event", client="kanarie")
    found = samples(board)
    name = "ketenmail_events_total"
    assert found[name, "message-accepted", ""] == 2
    assert found[name, "intake-content-refused", "nul"] == 1
    assert found[name, "intake-pressure", "disk"] == 1
    assert found[name, "worker-died", "other"] == 1  # a number is no reason
    assert found[name, "unlisted-event", ""] == 1
    assert found[name, "reload", ""] == 0  # all events are there from the start
    assert len(capsys.readouterr().err.splitlines()) == 6


@pytest.mark.parametrize("canary", ["a@b.nl", "kanarie.example", "10.1.2.3", "gem"])
def test_a_value_that_is_on_no_list_is_shown_nowhere(board, canary):
    row = board.row("mail-1")
    for event in (*telemetry.EVENTS, canary):
        for field in (*telemetry.FIELDS, canary):
            row.count(event, {field: canary})
    assert canary.encode() not in metrics.render(board, NOW)


def test_all_labels_and_their_values_are_of_closed_lists(board):
    """The review of H-21: no tenant, client, domain or address has a place."""
    row = board.row("mail-1")
    for event in telemetry.EVENTS:
        for reason in metrics._REASONS:
            row.count(event, {"reason": reason})
    text = metrics.render(board, NOW).decode()
    allowed = {
        "event": telemetry.EVENTS,
        "reason": set(metrics._REASONS) | {mark.value for mark in Mark},
        "state": {state.value for state in JobState},
        "le": {*map(str, metrics.BUCKETS_S), "+Inf"},
    }
    seen = set()
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("ketenmail_")
        assert family.documentation
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert value in allowed[label], sample
                assert re.fullmatch(r"[a-z0-9.+-]*|\+Inf", value)
            seen |= sample.labels.keys()
    assert seen == LABELS


def test_every_metric_is_in_the_document(board):
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    text = metrics.render(board, NOW).decode()
    names = {f.name for f in text_string_to_metric_families(text)}
    assert {name for name in names if f"`{name}" not in page} == set()
    told = set(
        re.findall(r"`(ketenmail_[a-z_]+?)(?:_total|_bucket|_sum|_count)?[`{]", page)
    )
    assert told == names


def literals(path, called):
    """The texts that are given first to a call of this name."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == called:
            yield getattr(node.args[0], "value", None)


def logged_reasons():
    """The texts that stand in a log call as the value of what becomes a label."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if getattr(getattr(node, "func", None), "attr", "") in {"log", "_log"}:
                for keyword in node.keywords:
                    value = getattr(keyword.value, "value", None)
                    if keyword.arg in metrics._LABELS and isinstance(value, str):
                        yield value


def test_every_reason_of_the_code_has_its_label():
    from gateway.intake import header

    known = set(metrics._REASONS)
    for kind in (content.Fault, ending.Reason, ScanFault, Mark):
        assert {member.value for member in kind} <= known
    plain = {name for name in literals("gateway/intake/header.py", "Defect") if name}
    assert "loop" in plain
    assert plain <= known
    assert {"refused", "done"} <= set(logged_reasons()) <= known
    assert {f"header-double-{name.lower()}" for name in header._ONCE} <= known


# --- several processes ----------------------------------------------------------------
def in_child(act) -> None:
    """Do something in a forked process, which then dies at once."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            act()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_a_process_counted_outlives_it_and_adds_up(board):
    rows = [board.row(f"mail-{n}") for n in (1, 2, 3)]

    def work() -> None:
        for row in rows:
            row.count("message-accepted", {})
            row.received(0.2)
            row.show(sessions=2, held_octets=100, marks=frozenset({Mark.JOBS}))

    for _ in range(5):
        in_child(work)
    found = samples(board)
    assert found["ketenmail_events_total", "message-accepted", ""] == 15
    assert found["ketenmail_receive_seconds_count",] == 15
    assert found["ketenmail_receive_seconds_sum",] == pytest.approx(3.0)
    assert found["ketenmail_sessions",] == 6
    assert found["ketenmail_held_octets",] == 300
    assert found["ketenmail_pressure", "jobs"] == 1
    assert found["ketenmail_pressure", "disk"] == 0
    assert found["ketenmail_workers",] == 3
    rows[0].leave()
    found = samples(board)
    assert found["ketenmail_events_total", "message-accepted", ""] == 15
    assert found["ketenmail_sessions",] == 4
    assert found["ketenmail_workers",] == 2


def test_a_worker_that_is_started_again_goes_on_in_its_row(board):
    board.row("mail-1").count("worker-started", {})
    board.row("mail-2").count("worker-started", {})
    board.row("mail-1").count("worker-started", {})
    assert samples(board)["ketenmail_events_total", "worker-started", ""] == 3


def test_times_fall_into_buckets_that_add_up(board):
    row = board.row("mail-1")
    for seconds in (0.0, 0.01, 0.011, 59.0, 60.0, 3600.0):
        row.received(seconds)
    found = samples(board)
    at = {key[1]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert at["0.01"] == 2
    assert at["0.025"] == 3
    assert at["30.0"] == 3
    assert at["60.0"] == 5
    assert at["+Inf"] == 6
    assert list(at.values()) == sorted(at.values())


def test_more_processes_than_rows_share_and_break_nothing(board):
    for number in range(600):
        board.row(f"mail-{number}").count("reload", {})
    assert samples(board)["ketenmail_events_total", "reload", ""] == 600


# --- what is looked up ----------------------------------------------------------------
def test_the_store_is_shown_as_it_is(board):
    found = samples(board)
    states = {k[1]: v for k, v in found.items() if k[0] == "ketenmail_jobs"}
    assert states == {"ready": 1, "leased": 2, "waiting": 3, "held": 4}
    assert found["ketenmail_oldest_due_seconds",] == 5.5
    assert found["ketenmail_evidence_behind_records",] == 6
    assert found["ketenmail_evidence_behind_seconds",] == 7.25
    assert found["ketenmail_disk_free_octets",] == 8


def test_what_could_not_be_seen_is_not_shown(board):
    names = {key[0] for key in samples(board, metrics.Now(None, None))}
    assert "ketenmail_events_total" in names
    assert not names & {"ketenmail_jobs", "ketenmail_disk_free_octets"}


async def test_figures_of_a_store(tmp_path):
    bed = store_bed.Bed(tmp_path).prepare()
    try:
        store, second = bed.open(), store_bed.SECOND
        gauges = SqlGauges(store)
        empty = await gauges.figures(store_bed.NOW)
        assert (empty.oldest_due_s, empty.unsigned_records) == (0, 0)
        assert set(empty.jobs.values()) == {0}
        await store_bed.accept(store, "1", next_attempt_at=store_bed.NOW - 40 * second)
        await store_bed.accept(store, "2", state=JobState.HELD)
        later = {"state": JobState.WAITING, "next_attempt_at": store_bed.NOW + second}
        await store_bed.accept(store, "3", **later)
        seen = await gauges.figures(store_bed.NOW + 60 * second)
        assert seen.jobs == {
            JobState.READY: 1,
            JobState.LEASED: 0,
            JobState.WAITING: 1,
            JobState.HELD: 1,
        }
        assert seen.oldest_due_s == 100
        assert (seen.unsigned_records, seen.oldest_unsigned_s) == (6, 60)
        evidence = SqlEvidence(store, "sequencer")
        await evidence.integrate(store_bed.origin_of(store_bed.OWNER), store_bed.NOW, 5)
        seen = await gauges.figures(store_bed.NOW - datetime.timedelta(days=1))
        assert (seen.unsigned_records, seen.oldest_unsigned_s) == (1, 0)
    finally:
        bed.close()


# --- the door -------------------------------------------------------------------------
@pytest.fixture
async def door(board):
    async def look():
        if isinstance(door.now, Exception):
            raise door.now
        return door.now

    door = metrics.Door(board, look)
    door.now = NOW
    door.port = loopback.free_port()
    server = await door.listen(Metrics(door.port))
    yield door
    server.close()
    await server.wait_closed()


async def ask(door, octets: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(octets)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def test_metrics_are_given_and_the_answer_names_no_product(door, board):
    answer = await ask(door, get("/metrics"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain")
    assert body == metrics.render(board, NOW)
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Server:" not in head
    assert b"Python" not in answer


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (get("/metrics?name=x"), b"200"),
        (get("/"), b"404"),
        (get("/metrics/../etc/passwd"), b"404"),
        (get("http://localhost/metrics"), b"404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"\xff\xfe\r\n\r\n", b"405"),
        (b"GET  /metrics\r\n\r\n", b"404"),
    ],
)
async def test_there_is_nothing_else_to_ask(door, asked, status):
    assert (await ask(door, asked)).startswith(b"HTTP/1.1 " + status)


async def test_a_request_without_end_is_not_answered(door):
    assert await ask(door, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 5000) == b""


async def test_who_only_holds_connections_does_not_stop_another(door):
    """Sixteen at once: more are sent away, and those in time go by themselves."""
    held = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(16)]
    while door._open < 16:
        await asyncio.sleep(0.01)
    assert await ask(door, b"") == b""  # sent away at once
    for _, writer in held:
        writer.close()
    while door._open:
        await asyncio.sleep(0.01)
    assert (await ask(door, get("/metrics"))).startswith(b"HTTP/1.1 200")


async def test_health_is_bad_without_a_worker_or_without_a_store(door, board):
    assert (await ask(door, get("/health"))).startswith(b"HTTP/1.1 503")
    row = board.row("mail-1")
    row.show(sessions=0, held_octets=0, marks=frozenset({Mark.DISK}))
    answer = await ask(door, get("/health"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"pressure": ["disk"]' in answer  # alive, though it puts mail off
    door.now = metrics.Now(None, 1)
    assert (await ask(door, get("/health"))).startswith(b"HTTP/1.1 503")
