"""`demo`: the sandbox chain; see gateway/demo.py."""

import contextlib
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import FAILED, Speaker, errors_told

if TYPE_CHECKING:
    from gateway.demo import Sample, Sandbox

_READY_WITHIN_S = 60
_OVER_WITHIN_S = 25


def demo(
    context: typer.Context,
    folder: Annotated[
        pathlib.Path | None, typer.Option(help="Map / folder (leeg / empty).")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stop na de voorbeelden. / Stop after them.")
    ] = False,
) -> None:
    """Draai een zandbak met partners op loopback. / Run a sandbox chain on loopback."""
    from gateway import app, demo

    speaker: Speaker = context.obj
    place = folder or pathlib.Path(tempfile.mkdtemp(prefix="ketenmail-demo-"))
    with errors_told(speaker):
        sandbox = demo.lay_out(place.resolve())
        speaker.say(speaker.word("demo_start", folder=sandbox.folder))
        app.create(app.load_config(str(sandbox.config)))
        _run(speaker, sandbox, "partners", "apply", str(sandbox.partners))
        with demo.run_stands(sandbox), _gateway(speaker, sandbox):
            for sample in demo.SAMPLES:
                _play(speaker, sandbox, sample)
            _show_inbox(speaker, sandbox)
            if not once:
                _invite(speaker, sandbox)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
        if folder is None and once:
            shutil.rmtree(place)
        else:
            speaker.say("\n" + speaker.word("demo_bye", folder=sandbox.folder))


def _command(sandbox: "Sandbox", language: str, *words: str) -> list[str]:
    start = [sys.executable, "-m", "gateway", "--lang", language]
    return [*start, "--config", str(sandbox.config), *words]


def _run(speaker: Speaker, sandbox: "Sandbox", *words: str) -> None:
    command = _command(sandbox, speaker.language, *words)
    subprocess.run(command, check=True)  # noqa: S603 - our own verb


@contextlib.contextmanager
def _gateway(speaker: Speaker, sandbox: "Sandbox") -> Iterator[None]:
    """Run `serve` while the block lasts; its log goes to a file in the sandbox."""
    from gateway import demo

    with (sandbox.folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own verb
            _command(sandbox, speaker.language, "serve"),
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _READY_WITHIN_S
            while not demo.answers(sandbox.port):
                if process.poll() is not None or time.monotonic() > deadline:
                    what = f"serve, {sandbox.folder / 'gateway.log'}"
                    speaker.end(FAILED, speaker.word("failed", what=what))
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(60)


def _play(speaker: Speaker, sandbox: "Sandbox", sample: "Sample") -> None:
    """Send one sample, wait until it is decided, and say what happened and why."""
    from gateway import demo

    speaker.say(f"\n== {sample.title[0 if speaker.language == 'nl' else 1]}")
    speaker.say(f"   {demo.SENDER} -> {sample.recipient}")
    code, text = demo.submit(sandbox, sample)
    for number, line in enumerate(text.splitlines()):
        lead = speaker.word("demo_reply") if number == 0 else ""
        speaker.say(f"   {lead:10} {code} {line}")
    if code != 250:  # noqa: PLR2004
        outcome = speaker.word("demo_refused")
    else:
        outcome = _outcome(speaker, sandbox, text.split()[-1])
    speaker.say(f"   {speaker.word('demo_outcome'):10} {outcome}")


def _outcome(speaker: Speaker, sandbox: "Sandbox", reference: str) -> str:
    """Wait for the terminal state; a partner that is not in order takes a few tries."""
    deadline = time.monotonic() + _OVER_WITHIN_S
    trace: dict[str, Any] = {}
    while time.monotonic() < deadline:
        trace = _trace(sandbox, reference)
        if trace["jobs"] and all(job["state"] == "done" for job in trace["jobs"]):
            break
        time.sleep(0.2)
    events = {record["event"]: record for record in trace["records"]}
    if "delivered" in events:
        facts = events["delivered"]["facts"]
        return speaker.word(
            "demo_delivered",
            host=facts["hops/1/host"],
            mechanism=facts["hops/1/mechanism"],
            version=facts["hops/1/tls_version"],
        )
    last = events.get("failed") or events.get("expired")
    cause = _cause(speaker, (last or events.get("deferred") or {"facts": {}})["facts"])
    return speaker.word("demo_failed" if last else "demo_waiting", cause=cause)


def _cause(speaker: Speaker, facts: dict[str, Any]) -> str:
    from gateway.texts import render

    code = facts.get("recipients/1/code")
    return "-" if code is None else f"{code}: {render.sentence(code, speaker.language)}"


def _trace(sandbox: "Sandbox", reference: str) -> dict[str, Any]:
    import asyncio

    from gateway import app, operations
    from gateway.model.ids import MessageId
    from gateway.store.evidence import SqlEvidence
    from gateway.store.queue import SqlQueue

    of = MessageId(reference)
    with app.opened(str(sandbox.config)) as installation:
        records = asyncio.run(
            SqlEvidence(installation.store, "demo").records_of_message(of)
        )
        jobs = asyncio.run(SqlQueue(installation.store).jobs_of_message(of))
        return operations.describe_trace(of, records, jobs)


def _show_inbox(speaker: Speaker, sandbox: "Sandbox") -> None:
    inbox = sandbox.stand("inbox")
    deadline = time.monotonic() + _OVER_WITHIN_S
    while not inbox.received and time.monotonic() < deadline:
        time.sleep(0.2)
    speaker.say("\n" + speaker.word("demo_inbox", count=len(inbox.received)))
    for number, octets in enumerate(inbox.received, 1):
        path = sandbox.folder / f"notice-{number}.eml"
        path.write_bytes(octets)
        speaker.say(f"   {path}")


def _invite(speaker: Speaker, sandbox: "Sandbox") -> None:
    ketenmail = f"{pathlib.Path(sys.argv[0])} --config {sandbox.config}"
    speaker.say("\n" + speaker.word("demo_try"))
    speaker.say(
        f"   swaks --server 127.0.0.1:{sandbox.port} --tls --helo mail.voorbeeldstad"
        ".example --from j.devries@voorbeeldstad.example --to"
        " crisisdienst@ggz.sandbox.example --header 'Subject: proef' --body 'proef'"
    )
    speaker.say("\n" + speaker.word("demo_more"))
    for verb in (
        "queue list",
        "message trace REFERENTIE",
        "partners list",
        "route explain crisisdienst@ggz.sandbox.example --regime wvggz",
        "evidence export bewijs.zip",
        "doctor",
    ):
        speaker.say(f"   {ketenmail} {verb}")
    speaker.say("\n" + speaker.word("demo_stop"))
    sys.stdout.flush()


def add_to(app: typer.Typer) -> None:
    """Give the root its verb."""
    app.command()(demo)
