"""`classify`, `queue list`, `message trace` and `route explain`."""

import asyncio
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.help import Verb, group
from gateway.cli.output import DONE, NO, USAGE, Speaker, one_of, speaker_of

if TYPE_CHECKING:
    from gateway.policy.rulebook import Policy

Json = Annotated[bool, typer.Option("--json")]


def classify(
    context: typer.Context,
    files: Annotated[list[pathlib.Path], typer.Argument()],
    explain: Annotated[bool, typer.Option("--explain")] = False,
    json: Json = False,
) -> None:
    """Classify messages; the answer is no when one is sensitive."""
    from gateway import app

    speaker = speaker_of(context, json=json)
    policy = app.load_policy_for_classifying(speaker.config_path)
    answers = [_classify_one(path, policy) for path in files]
    for answer in answers:
        _show_classification(speaker, answer, explain=explain)
    speaker.give(answers)
    sensitive = any(answer["level"] != "none" for answer in answers)
    speaker.end(NO if sensitive else DONE)


def _classify_one(path: pathlib.Path, policy: "Policy") -> dict[str, Any]:
    from gateway import app, operations

    octets = path.read_bytes()
    started = time.perf_counter()
    found = asyncio.run(app.classify_octets(octets, policy))
    spent_ms = (time.perf_counter() - started) * 1000
    described = operations.describe_classification(found)
    return {"file": str(path), **described, "ms": round(spent_ms, 1)}


def _show_classification(
    speaker: Speaker, answer: dict[str, Any], *, explain: bool
) -> None:
    level = speaker.name_of("class", answer["level"])
    regimes = ", ".join(f"{r['id']} ({r['score']})" for r in answer["regimes"])
    speaker.say(f"{answer['file']}: {level}" + (f": {regimes}" if regimes else ""))
    for part in answer["unreadable"]:
        place = f"{part['place']} ({part['reason']})"
        speaker.say(f"  {speaker.word('classify.unreadable', place=place)}")
    if not explain:
        return
    names = ("regime", "rule", "place", "count", "weight")
    rows = [tuple(speaker.word(f"classify.{name}") for name in names)]
    for regime in answer["regimes"]:
        rows += [
            (regime["id"], f["rule"], f["place"], f["count"], f["weight"])
            for f in regime["findings"]
        ]
    if len(rows) == 1:
        speaker.say(f"  {speaker.word('classify.nothing')}")
    else:
        speaker.table(rows, indent="  ")


def queue_list(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 200,
    every: Annotated[bool, typer.Option("--all")] = False,
    json: Json = False,
) -> None:
    """Show what waits, and what is held."""
    from gateway import app, operations
    from gateway.model.job import JobState
    from gateway.store.queue import SqlQueue

    speaker = speaker_of(context, json=json)
    states = frozenset(JobState) if every else frozenset(JobState) - {JobState.DONE}
    with app.opened(speaker.config_path) as installation:
        jobs = asyncio.run(SqlQueue(installation.store).list_jobs(limit, states))
    answers = [operations.describe_job(job) for job in jobs]
    speaker.give(answers)
    if not answers:
        speaker.say(speaker.word("queue.none"))
        return
    names = ("message", "state", "recipients", "attempts", "next", "expires", "cause")
    rows: list[tuple[object, ...]] = [tuple(speaker.word(f"queue.{n}") for n in names)]
    rows += [
        (
            a["message"],
            speaker.name_of("state", a["state"]) + _hold(a),
            _standing(speaker, a),
            a["attempts"],
            _minute(a["next_attempt_at"]),
            _minute(a["expires_at"]),
            a["cause"] or "-",
        )
        for a in answers
    ]
    speaker.table(rows)


def _hold(job: dict[str, Any]) -> str:
    return f" {job['hold']}" if job["hold"] else ""


def _standing(speaker: Speaker, job: dict[str, Any]) -> str:
    return ", ".join(
        f"{r['address']} {speaker.name_of('status', r['status'])}"
        for r in job["recipients"]
    )


def _minute(instant: str) -> str:
    """An instant of ISO 8601 in UTC, to the second: `2026-11-25T10:00:00Z`."""
    return f"{instant[:19]}Z"


def message_trace(
    context: typer.Context,
    message: Annotated[str, typer.Argument()],
    json: Json = False,
) -> None:
    """Show all that befell a message."""
    from gateway import app, operations
    from gateway.model.ids import MessageId
    from gateway.store.evidence import SqlEvidence
    from gateway.store.queue import SqlQueue

    speaker = speaker_of(context, json=json)
    of = MessageId(message.strip())
    with app.opened(speaker.config_path) as installation:
        store = installation.store
        records = asyncio.run(SqlEvidence(store, "cli").records_of_message(of))
        jobs = asyncio.run(SqlQueue(store).jobs_of_message(of))
    answer = operations.describe_trace(of, records, jobs)
    speaker.give(answer)
    if not answer["records"]:
        speaker.refuse(NO, "no_message", message)
    for record in answer["records"]:
        event = speaker.name_of("event", record["event"])
        speaker.say(f"{_minute(record['at'])}  {record['event']}: {event}")
        if record["erased"]:
            speaker.say(f"    {speaker.word('trace.erased')}")
        for line in fact_lines(record["facts"]):
            speaker.say(f"    {line}")
    for job in answer["jobs"]:
        state = speaker.name_of("state", job["state"]) + _hold(job)
        speaker.say(f"{speaker.word('trace.now')}: {state}; {_standing(speaker, job)}")


def fact_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts of a record that say something; those of one item on one line."""
    items: dict[str, list[str]] = {}
    for name, value in facts.items():
        if value is None or value is False or value == "":
            continue
        item, slash, fact = name.rpartition("/")
        if slash:
            items.setdefault(item, []).append(f"{fact}={value}")
        else:
            items[name] = [str(value)]
    for name, values in items.items():
        yield f"{name}: {' '.join(values)}"


def route_explain(
    context: typer.Context,
    address: Annotated[str, typer.Argument()],
    regime: Annotated[str | None, typer.Option()] = None,
    municipality: Annotated[str | None, typer.Option()] = None,
    json: Json = False,
) -> None:
    """Say what would happen to mail for this address; sends nothing."""
    from gateway import app, operations
    from gateway.model.address import AddressError, Mailbox
    from gateway.model.ids import MunicipalityId, RegimeId

    speaker = speaker_of(context, json=json)
    try:
        mailbox = Mailbox.parse(address)
    except AddressError:
        speaker.refuse(USAGE, "no_address", address)
    with app.opened(speaker.config_path) as installation:
        policy = installation.policy
        known = list(policy.municipalities)
        owner = MunicipalityId(municipality or known[0])
        one_of(speaker, "--municipality", owner, known, "no_municipality")
        if regime is not None:
            one_of(speaker, "--regime", regime, app.regimes_of(policy), "no_regime")
        answer = asyncio.run(
            operations.explain_route(
                mailbox,
                None if regime is None else RegimeId(regime),
                owner,
                app.make_house(installation),
            )
        )
        answer["reason"] = app.reason_of(answer, policy.municipalities[owner])
    speaker.give(answer)
    _show_route(speaker, answer)
    blocked = answer["verdict"] != "relay" or not answer["hosts"]
    blocked = blocked or "code" in answer["route"]
    speaker.end(NO if blocked else DONE)


def _show_route(speaker: Speaker, answer: dict[str, Any]) -> None:
    code = f" {answer['code']}" if answer["code"] else ""
    verdict = speaker.name_of("verdict", answer["verdict"])
    rule = speaker.word("route.rule", rule=answer["rule"])
    rows = [
        (speaker.word("route.verdict"), f"{verdict}{code} ({rule})"),
        (speaker.word("route.partner"), answer["partner"] or "-"),
    ]
    if answer["reason"] is not None:
        reason = answer["reason"][speaker.language]
        rows.append((speaker.word("route.reason"), reason))
    if answer["route"] is not None:
        pairs = (
            f"{k}={v}"
            for k, v in answer["route"].items()
            if v is not None and v is not False
        )
        rows.append((speaker.word("route.route"), " ".join(pairs)))
    speaker.table(rows)
    if answer["hosts"]:
        speaker.say(f"{speaker.word('route.hosts')}:")
        speaker.table(
            [
                ("", "DNSSEC", "TLSA", speaker.word("route.assurance"), ""),
                *(
                    (
                        host["name"],
                        host["dnssec"],
                        host["tlsa"] or "-",
                        host["assurance"] or "-",
                        host["why"],
                    )
                    for host in answer["hosts"]
                ),
            ],
            indent="  ",
        )


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    app.command(cls=Verb)(classify)
    group(app, "queue").command("list", cls=Verb)(queue_list)
    group(app, "message").command("trace", cls=Verb)(message_trace)
    group(app, "route").command("explain", cls=Verb)(route_explain)
