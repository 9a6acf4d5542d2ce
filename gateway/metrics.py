"""Figures for whoever watches the gateway: how much, how long, how full (H-21).

A closed list. No figure has a tenant, client, domain or address as label: who sends to
whom would show in it. Labels are names of events, reasons and states out of lists in
the code; a value that is on none of them counts as `other`.

Workers count on a `Board`: memory that the parent makes before it forks, with a row for
each process. So a counter outlives the worker that died, nothing is on the disk (the
files that prometheus_client maps for several processes end a process by SIGBUS when the
disk is full, which is when figures are needed), and to count costs no system call. Each
row has one writer. Nothing ever decides anything by what is on the board: it is no way
for processes to talk. The sequencer, of which there is one, reads it and serves it.
"""

import asyncio
import contextlib
import dataclasses
import enum
import json
import mmap
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.intake.content import Fault
from gateway.intake.ending import Reason
from gateway.model.scan import ScanFault
from gateway.pressure import Mark
from gateway.services import Metrics
from gateway.store.gauges import Figures
from gateway.telemetry import EVENTS

OTHER = "other"
CONTENT_TYPE = CONTENT_TYPE_LATEST


_DOUBLE = (
    "from sender reply-to to cc bcc message-id date subject content-type"
    " content-transfer-encoding mime-version in-reply-to references"
)
HEADER_FAULTS = frozenset(
    {
        "header-control",
        "header-not-ascii",
        "header-too-long",
        "header-fold-first",
        "header-fold-blank",
        "header-line-no-field",
        "header-no-from",
        "loop",
        *(f"header-double-{name}" for name in _DOUBLE.split()),
    }
)


def _reasons() -> Iterator[str]:
    """Every value that a field `reason`, `fault` or `status` has in a log line."""
    closed: tuple[type[enum.Enum], ...] = (Fault, Reason, ScanFault, Mark)
    for kind in closed:
        yield from (member.value for member in kind)
    yield from HEADER_FAULTS
    yield from ("refused", "done", "on", "off")  # of a reload, of pressure


_EVENTS = tuple(sorted(EVENTS))
_REASONS = ("", OTHER, *sorted(set(_reasons())))
_EVENT_AT = {event: at for at, event in enumerate(_EVENTS)}
_REASON_AT = {reason: at for at, reason in enumerate(_REASONS)}
_LABELS = ("reason", "fault", "status")  # the first that a line has

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_MICROSECONDS = 1_000_000
_MARKS = tuple(Mark)

# Cells of a row, one after another; each is eight octets and has one writer.
_COUNTS = len(_EVENTS) * len(_REASONS)
_SUM = _COUNTS + len(BUCKETS_S) + 1
_SESSIONS, _HELD, _PRESSURE = _SUM + 1, _SUM + 2, _SUM + 3
_BEAT = _PRESSURE + len(_MARKS)
_CELLS = _BEAT + 1
_ROWS = 512
_ALIVE_S = 15.0


class Row:
    """Where one process counts."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def count(self, event: str, fields: Mapping[str, object]) -> None:
        """Count a log event, by its reason if it has one."""
        given = next((fields[label] for label in _LABELS if label in fields), "")
        reason = given if isinstance(given, str) and given in _REASON_AT else OTHER
        at = _EVENT_AT.get(event)
        if at is not None:
            self._cells[at * len(_REASONS) + _REASON_AT[reason]] += 1

    def received(self, seconds: float) -> None:
        """A message was dealt with, from the final dot to the reply."""
        bucket = sum(seconds > edge for edge in BUCKETS_S)
        self._cells[_COUNTS + bucket] += 1
        self._cells[_SUM] += int(seconds * _MICROSECONDS)

    def show(self, sessions: int, held_octets: int, marks: frozenset[Mark]) -> None:
        """What is so now; each second, for it also says that the process lives."""
        self._cells[_SESSIONS] = sessions
        self._cells[_HELD] = held_octets
        for at, mark in enumerate(_MARKS):
            self._cells[_PRESSURE + at] = mark in marks
        self._cells[_BEAT] = time.monotonic_ns()

    def leave(self) -> None:
        """The process begins or ends: what it counted stays, it holds nothing."""
        self._cells[_SESSIONS:_CELLS] = memoryview(
            bytes(8 * (_CELLS - _SESSIONS))
        ).cast("q")


class Board:
    """What all processes of a gateway counted; make it before the first fork."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, _ROWS * _CELLS * 8)  # shared with all children
        self._cells = memoryview(memory).cast("q")
        self._rows: dict[str, int] = {}

    def row(self, name: str) -> Row:
        """The row of a process; the parent asks for it, its child writes.

        A process that is started again has the row of its name again. Beyond 512 names
        some share a row and may lose a count.
        """
        at = self._rows.setdefault(name, len(self._rows) % _ROWS)
        return Row(self._cells[at * _CELLS : (at + 1) * _CELLS])

    def sums(self) -> Sequence[int]:
        """Each cell over all processes."""
        used = self._cells[: min(_ROWS, len(self._rows)) * _CELLS]
        return [sum(used[at::_CELLS]) for at in range(_CELLS)]

    def alive(self) -> int:
        """How many workers showed that they live in the last 15 seconds."""
        since = time.monotonic_ns() - int(_ALIVE_S * 1e9)
        return sum(beat > since for beat in self._cells[_BEAT::_CELLS])


@dataclasses.dataclass(frozen=True, slots=True)
class Now:
    """What is looked up when somebody asks; None: it could not be."""

    figures: Figures | None
    free_octets: int | None


def render(board: Board, now: Now) -> bytes:
    """All metrics, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Given([*_counted(board), *_looked_up(now)]))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _counted(board: Board) -> Iterator[Metric]:
    cells = board.sums()
    yield _events(cells)
    yield _receive_times(cells)
    yield _gauge("sessions", "SMTP sessions now.", cells[_SESSIONS])
    held = "Octets of incoming content in memory now."
    yield _gauge("held_octets", held, cells[_HELD])
    yield _gauge("workers", "Mail workers that live.", board.alive())
    marks = _family("pressure", "1: new mail is put off for this reason.", "reason")
    for at, mark in enumerate(_MARKS):
        marks.add_metric([mark.value], min(1, cells[_PRESSURE + at]))
    yield marks


def _events(cells: Sequence[int]) -> Metric:
    """Without a reason every event is there, so that its first one shows as a rise."""
    family = CounterMetricFamily(
        "ketenmail_events", "Log events since the start.", labels=("event", "reason")
    )
    for event, at in _EVENT_AT.items():
        for reason, beside in _REASON_AT.items():
            count = cells[at * len(_REASONS) + beside]
            if count or not reason:
                family.add_metric([event, reason], count)
    return family


def _receive_times(cells: Sequence[int]) -> Metric:
    buckets, total = [], 0
    for at, edge in enumerate((*map(str, BUCKETS_S), "+Inf")):
        total += cells[_COUNTS + at]
        buckets.append((edge, total))
    help_text = "From the final dot of a message to our reply."
    family = HistogramMetricFamily("ketenmail_receive_seconds", help_text)
    family.add_metric([], buckets, cells[_SUM] / _MICROSECONDS)
    return family


def _looked_up(now: Now) -> Iterator[Metric]:
    """What could not be seen is not there: a figure of before would mislead."""
    if now.free_octets is not None:
        yield _gauge("disk_free_octets", "Room on the store's disk.", now.free_octets)
    figures = now.figures
    if figures is None:
        return
    jobs = _family("jobs", "Open jobs.", "state")
    for state, count in figures.jobs.items():
        jobs.add_metric([state.value], count)
    yield jobs
    oldest = "How long the oldest job that is due has waited for an attempt."
    yield _gauge("oldest_due_seconds", oldest, figures.oldest_due_s)
    behind = "Evidence records that are in no tree yet."
    yield _gauge("evidence_behind_records", behind, figures.unsigned_records)
    oldest = "Age of the oldest evidence record that is in no tree yet."
    yield _gauge("evidence_behind_seconds", oldest, figures.oldest_unsigned_s)


def _family(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"ketenmail_{name}", help_text, labels=labels)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    family = _family(name, help_text)
    family.add_metric([], value)
    return family


# --- the door ---------------------------------------------------------------------
_ASK_WITHIN_S = 5.0
_MAX_HEAD_OCTETS = 8 * 1024
_MOST_AT_ONCE = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """What is answered to a GET."""

    status: HTTPStatus
    content_type: str
    content: bytes


Look = Callable[[], Awaitable[Now]]


class Door:
    """HTTP on a loopback address: `/metrics`, and `/health` for a load balancer.

    A request is read in five seconds or not at all, sixteen at once; a connection has
    one request. There is nothing to ask but these two pages.
    """

    def __init__(self, board: Board, look: Look) -> None:
        self._board = board
        self._look = look
        self._open = 0

    async def listen(self, settings: Metrics) -> asyncio.Server:
        """Open it; close the server in the end.

        Raises:
            OSError: When the port cannot be had.
        """
        return await asyncio.start_server(
            self._serve, settings.address, settings.port, limit=_MAX_HEAD_OCTETS
        )

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open += 1
        try:
            if self._open <= _MOST_AT_ONCE:
                async with asyncio.timeout(_ASK_WITHIN_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_format(await self.page(head)))
                    await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # a time-out is an OSError; whoever asked so is not answered
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def page(self, head: bytes) -> Page:
        """The answer to a request, by its first line."""
        words = head.partition(b"\r\n")[0].decode("ascii", "replace").split(" ")
        if len(words) != 3 or words[0] != "GET":  # noqa: PLR2004
            return _text(HTTPStatus.METHOD_NOT_ALLOWED)
        match words[1].partition("?")[0]:
            case "/metrics":
                content = render(self._board, await self._look())
                return Page(HTTPStatus.OK, CONTENT_TYPE, content)
            case "/health":
                return self._health(await self._look())
            case _:
                return _text(HTTPStatus.NOT_FOUND)

    def _health(self, now: Now) -> Page:
        """200 while mail is taken in, though it may be put off; else 503."""
        cells, workers = self._board.sums(), self._board.alive()
        fine = workers > 0 and now.figures is not None
        marks = [mark.value for at, mark in enumerate(_MARKS) if cells[_PRESSURE + at]]
        said = {
            "status": "ok" if fine else "failing",
            "workers": workers,
            "store": now.figures is not None,
            "pressure": marks,
        }
        status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(status, "application/json", json.dumps(said).encode() + b"\n")


def _text(status: HTTPStatus) -> Page:
    return Page(status, "text/plain", f"{status.phrase}\n".encode())


def _format(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.content)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + page.content
