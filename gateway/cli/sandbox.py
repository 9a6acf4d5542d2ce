"""`demo`: the sandbox chain; see gateway/demo.py."""

import asyncio
import contextlib
import email
import email.policy
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.help import Verb
from gateway.cli.output import DONE, FAILED, NO, USAGE, Speaker, speaker_of
from gateway.cli.setup import check_environment, check_tls

if TYPE_CHECKING:
    from gateway.demo import Sample, Sandbox

Json = Annotated[bool, typer.Option("--json")]
_READY_WITHIN_S = 60
_OVER_WITHIN_S = 25
_ACCEPTED = 250


def demo(
    context: typer.Context,
    folder: Annotated[pathlib.Path | None, typer.Option()] = None,
    once: Annotated[bool, typer.Option("--once")] = False,
    json: Json = False,
) -> None:
    """Run a sandbox chain on loopback; `--json` implies `--once`."""
    speaker = speaker_of(context, json=json)
    check_environment(speaker)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _as_interrupt)
    if folder is not None and folder.is_dir() and any(folder.iterdir()):
        speaker.refuse(USAGE, "not_empty", f"--folder {folder}")
    check_tls(speaker)
    place = folder or pathlib.Path(tempfile.mkdtemp(prefix="ketenmail-demo-"))
    once = once or json
    try:
        as_said = _run(speaker, place.resolve(), once=once)
    except KeyboardInterrupt:
        as_said = True  # Ctrl-C is how one ends it
    if folder is None and once:
        shutil.rmtree(place)
    else:
        speaker.say("\n" + speaker.word("demo.bye", folder=place))
    speaker.end(DONE if as_said else NO)


def _as_interrupt(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGINT)


def _run(speaker: Speaker, place: pathlib.Path, *, once: bool) -> bool:
    """The whole demonstration; answers whether everything went as it says."""
    from gateway import app, demo

    sandbox = demo.lay_out(place)
    speaker.say(speaker.word("demo.start", folder=sandbox.folder))
    app.create(app.load_config(str(sandbox.config)))
    _verb(speaker, sandbox, "partners", "apply", str(sandbox.partners))
    with demo.run_stands(sandbox), _gateway(speaker, sandbox):
        played = [_play(speaker, sandbox, sample) for sample in demo.SAMPLES]
        notices = _show_notices(speaker, sandbox)
        bundle = _prove(speaker, sandbox, played[-1]["reference"])
        as_said = bundle == DONE and all(one["as_said"] for one in played)
        speaker.say("\n" + speaker.word(f"demo.{'as_said' if as_said else 'other'}"))
        speaker.give(
            {
                "as_said": as_said,
                "samples": played,
                "notices": notices,
                "evidence_verified": bundle == DONE,
            }
        )
        if not once:
            _invite(speaker, sandbox)
            signal.pause()
    return as_said


def _command(speaker: Speaker, sandbox: "Sandbox", *words: str) -> list[str]:
    start = [sys.executable, "-m", "gateway", "--lang", speaker.language]
    return [*start, "--config", str(sandbox.config), *words]


def _verb(speaker: Speaker, sandbox: "Sandbox", *words: str) -> int:
    """Run a verb as one would at the terminal, and show it; answers its status."""
    speaker.say(f"\n$ {_typed(sandbox)} {shlex.join(words)}")
    command = _command(speaker, sandbox, *words)
    output = subprocess.DEVNULL if speaker.json else None
    return subprocess.run(command, check=False, stdout=output).returncode  # noqa: S603


def _typed(sandbox: "Sandbox") -> str:
    """How this user calls a verb for the sandbox."""
    called = pathlib.Path(sys.argv[0])
    ours = (
        [str(called)]
        if called.name == "ketenmail"
        else [sys.executable, "-m", "gateway"]
    )
    return shlex.join([*ours, "--config", str(sandbox.config)])


@contextlib.contextmanager
def _gateway(speaker: Speaker, sandbox: "Sandbox") -> Iterator[None]:
    """Run `serve` while the block lasts; its log goes to a file in the sandbox.

    In a session of its own, so that Ctrl-C reaches only us and it ends in good order;
    should we be killed, the kernel ends it (setpriv is of util-linux).
    """
    from gateway import demo

    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    path = sandbox.folder / "gateway.log"
    with path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own verb
            [*guard, *_command(speaker, sandbox, "serve")],
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not demo.answers(sandbox.port):
            if process.poll() is not None or time.monotonic() > deadline:
                speaker.refuse(FAILED, "demo", str(path))
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _play(speaker: Speaker, sandbox: "Sandbox", sample: "Sample") -> dict[str, Any]:
    """Send one sample, wait until it is decided, and say what happened and why."""
    from gateway import demo

    title = sample.title[0 if speaker.language == "nl" else 1]
    speaker.say(f"\n== {title}")
    speaker.say(f"   {demo.SENDER} -> {sample.recipient}")
    code, text = demo.submit(sandbox, sample)
    reply = speaker.word("demo.reply")
    for number, line in enumerate(text.splitlines()):
        lead = f"{reply}:" if number == 0 else ""
        speaker.say(f"   {lead:<10} {code} {line}")
    reference = text.split()[-1]
    if code == _ACCEPTED:
        outcome, reason, sentence = _outcome(speaker, sandbox, reference)
    else:
        outcome, reason = "refused", text.split()[1]
        sentence = speaker.word("demo.refused")
    as_said = (outcome, reason) == (sample.outcome, sample.code)
    speaker.say(f"   {speaker.word('demo.outcome') + ':':<10} {sentence}")
    if not as_said:
        said = f"{sample.outcome} {sample.code}".strip()
        speaker.say(f"   {speaker.word('demo.not_as_said', said=said)}")
    return {
        "title": title,
        "recipient": sample.recipient,
        "reply": code,
        "reference": reference,
        "outcome": outcome,
        "code": reason,
        "sentence": sentence,
        "as_said": as_said,
    }


def _outcome(
    speaker: Speaker, sandbox: "Sandbox", reference: str
) -> tuple[str, str, str]:
    """Wait for the terminal state; a partner that is not in order takes a few tries.

    Returns:
        Outcome, code of the reason, sentence.
    """
    deadline = time.monotonic() + _OVER_WITHIN_S
    trace: dict[str, Any] = {"jobs": [], "records": []}
    while time.monotonic() < deadline:
        trace = _trace(sandbox, reference)
        if trace["jobs"] and all(job["state"] == "done" for job in trace["jobs"]):
            break
        time.sleep(0.2)
    facts = {record["event"]: record["facts"] for record in trace["records"]}
    if "delivered" in facts:
        found = facts["delivered"]
        names = {"host": "host", "mechanism": "mechanism", "version": "tls_version"}
        values = {name: found[f"hops/1/{fact}"] for name, fact in names.items()}
        return "delivered", "", speaker.word("demo.delivered", **values)
    last = facts.get("failed") or facts.get("expired")
    code, cause = _cause(speaker, last or facts.get("deferred") or {})
    if last is None:
        return "waiting", code, speaker.word("demo.waiting", cause=cause)
    return "failed", code, speaker.word("demo.failed", cause=cause)


def _cause(speaker: Speaker, facts: Mapping[str, Any]) -> tuple[str, str]:
    from gateway.texts import render

    code = facts.get("recipients/1/code")
    if code is None:
        return "", "-"
    return code, f"{code}: {render.sentence(code, speaker.language)}"


def _trace(sandbox: "Sandbox", reference: str) -> dict[str, Any]:
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


def _show_notices(speaker: Speaker, sandbox: "Sandbox") -> list[str]:
    """What the sender found in his mailbox; answers the subjects."""
    from gateway import demo

    inbox = sandbox.stand("inbox")
    ends = sum(sample.outcome == "failed" for sample in demo.SAMPLES)
    deadline = time.monotonic() + _OVER_WITHIN_S
    while sum(b"Action: failed" in octets for octets in inbox.received) < ends:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    speaker.say("\n== " + speaker.word("demo.inbox", count=len(inbox.received)))
    subjects = []
    for number, octets in enumerate(inbox.received, 1):
        path = sandbox.folder / f"notice-{number}.eml"
        path.write_bytes(octets)
        notice = email.message_from_bytes(octets, policy=email.policy.default)
        subjects.append(str(notice["Subject"]))
        speaker.say(f"   {path.name}: {subjects[-1]}")
    return subjects


def _prove(speaker: Speaker, sandbox: "Sandbox", reference: str) -> int:
    """Export the evidence and verify it offline, as an auditor would."""
    speaker.say("\n== " + speaker.word("demo.evidence"))
    _wait_until_signed(sandbox, reference)
    bundle, key = sandbox.folder / "evidence.zip", sandbox.folder / "log.pub"
    _verb(speaker, sandbox, "evidence", "export", str(bundle))
    from gateway import app
    from gateway import export as exporting

    with app.opened(str(sandbox.config)) as installation:
        owner = next(iter(installation.config.municipalities))
        public = exporting.log_key(installation, owner)
        key.write_text(f"{public}\n", encoding="utf-8")
    return _verb(speaker, sandbox, "evidence", "verify", str(bundle), "--key", str(key))


def _wait_until_signed(sandbox: "Sandbox", reference: str) -> None:
    """Until all records of a message have their place in the signed log."""
    deadline = time.monotonic() + _OVER_WITHIN_S
    while time.monotonic() < deadline:
        records = _trace(sandbox, reference)["records"]
        indexes = [record["index"] for record in records]
        if None not in indexes and _signed(sandbox) > max(indexes):
            return
        time.sleep(0.2)


def _signed(sandbox: "Sandbox") -> int:
    """The size of the newest checkpoint."""
    from gateway import app, demo
    from gateway.model.ids import MunicipalityId
    from gateway.store.evidence import SqlEvidence

    with app.opened(str(sandbox.config)) as installation:
        origin = app.log_origin(installation.config, MunicipalityId(demo.MUNICIPALITY))
        evidence = SqlEvidence(installation.store, "demo")
        checkpoint = asyncio.run(evidence.latest_checkpoint(origin))
    return 0 if checkpoint is None else checkpoint.size


def _invite(speaker: Speaker, sandbox: "Sandbox") -> None:
    from gateway import demo

    speaker.say("\n" + speaker.word("demo.try"))
    body = speaker.word("demo.body")
    swaks = [
        *("swaks", "--server", f"127.0.0.1:{sandbox.port}", "--tls"),
        *("--helo", "mail.voorbeeldstad.example", "--from", demo.SENDER),
        *("--to", "crisisdienst@ggz.sandbox.example"),
        *("--header", f"Subject: {body}", "--body", body),
    ]
    speaker.say(f"   {shlex.join(swaks)}")
    if shutil.which("swaks") is None:
        speaker.say(f"   ({speaker.word('demo.no_swaks')})")
    speaker.say("\n" + speaker.word("demo.more"))
    reference = speaker.word("demo.reference")
    for verb in (
        "queue list",
        f"message trace {reference}",
        "partners list",
        "route explain crisisdienst@ggz.sandbox.example --regime wvggz",
        "config show",
        "doctor",
    ):
        speaker.say(f"   {_typed(sandbox)} {verb}")
    speaker.say("\n" + speaker.word("demo.stop"))


def add_to(app: typer.Typer) -> None:
    """Give the root its verb."""
    app.command(cls=Verb)(demo)
