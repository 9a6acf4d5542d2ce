"""`classify`, `queue list`, `message trace` and `route explain`."""

import asyncio
import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import DONE, NO, USAGE, Speaker, errors_told

if TYPE_CHECKING:
    from gateway.policy.rulebook import Policy

Json = Annotated[bool, typer.Option("--json", help="JSON.")]


def classify(
    context: typer.Context,
    files: Annotated[list[pathlib.Path], typer.Argument(help="Berichten / messages.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Toon elke regel. / Show every rule.")
    ] = False,
    json: Json = False,
) -> None:
    """Classificeer berichten (.eml). / Classify messages; 1 when one is sensitive."""
    from gateway import app

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker):
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
    regimes = ", ".join(f"{r['id']} ({r['score']})" for r in answer["regimes"])
    speaker.say(f"{answer['file']}: {answer['level']} {regimes}".rstrip())
    for part in answer["unreadable"]:
        speaker.say(
            f"  {speaker.word('unreadable')}: {part['place']}, {part['reason']}"
        )
    if not explain:
        return
    names = ("regime", "rule", "where", "count", "weight")
    rows = [tuple(speaker.word(name) for name in names)]
    for regime in answer["regimes"]:
        rows += [
            (regime["id"], f["rule"], f["place"], f["count"], f["weight"])
            for f in regime["findings"]
        ]
    if len(rows) == 1:
        speaker.say(f"  {speaker.word('nothing_found')}")
    else:
        speaker.table(rows)


def queue_list(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 200,
    json: Json = False,
) -> None:
    """Toon wat er wacht. / Show what waits."""
    from gateway import app, operations
    from gateway.store.queue import SqlQueue

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        jobs = asyncio.run(SqlQueue(installation.store).list_jobs(limit))
        answers = [operations.describe_job(job) for job in jobs]
        speaker.give(answers)
        if not answers:
            speaker.say(speaker.word("queue_none"))
            return
        rows: list[tuple[object, ...]] = [tuple(speaker.word("queue_head").split())]
        rows += [
            (
                a["job"],
                a["message"],
                a["state"] + (f" {a['hold']}" if a["hold"] else ""),
                " ".join(f"{r['address']}={r['status']}" for r in a["recipients"]),
                a["attempts"],
                a["next_attempt_at"][:19],
                a["expires_at"][:19],
                a["cause"] or "-",
            )
            for a in answers
        ]
        speaker.table(rows)


def message_trace(
    context: typer.Context,
    message: Annotated[str, typer.Argument(help="Onze referentie / our reference.")],
    json: Json = False,
) -> None:
    """Toon alles wat er met een bericht gebeurde. / Show all that befell a message."""
    from gateway import app, operations
    from gateway.model.ids import MessageId
    from gateway.store.evidence import SqlEvidence
    from gateway.store.queue import SqlQueue

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    of = MessageId(message)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        store = installation.store
        records = asyncio.run(SqlEvidence(store, "cli").records_of_message(of))
        jobs = asyncio.run(SqlQueue(store).jobs_of_message(of))
        answer = operations.describe_trace(of, records, jobs)
        speaker.give(answer)
        if not answer["records"]:
            speaker.end(NO, speaker.word("trace_none", message=message))
        for record in answer["records"]:
            speaker.say(f"{record['at']}  {record['event']}")
            for name, value in record["facts"].items():
                if value not in {None, "", False}:
                    speaker.say(f"    {name}: {value}")
        for job in answer["jobs"]:
            standing = " ".join(
                f"{r['address']}={r['status']}" for r in job["recipients"]
            )
            speaker.say(f"{job['job']}  {job['state']}  {standing}")


def route_explain(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Adres / address.")],
    regime: Annotated[str | None, typer.Option(help="wvggz, pbw18b, ...")] = None,
    municipality: Annotated[str | None, typer.Option()] = None,
    json: Json = False,
) -> None:
    """Zeg wat er met post aan dit adres zou gebeuren. / Say what would happen."""
    from gateway import app, operations
    from gateway.model.address import AddressError, Mailbox
    from gateway.model.ids import MunicipalityId, RegimeId

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        try:
            mailbox = Mailbox.parse(address)
        except AddressError as error:
            speaker.end(USAGE, speaker.word("failed", what=error))
        policy = installation.policy
        owner = MunicipalityId(municipality or next(iter(policy.municipalities)))
        known = app.regimes_of(policy)
        if owner not in policy.municipalities:
            what = f"{owner} ({', '.join(policy.municipalities)})"
            speaker.end(USAGE, speaker.word("not_found", what=what))
        if regime is not None and regime not in known:
            what = f"{regime} ({', '.join(known)})"
            speaker.end(USAGE, speaker.word("not_found", what=what))
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
    verdict = f"{answer['verdict']}{code} ({speaker.word('rule')} {answer['rule']})"
    speaker.say(f"{speaker.word('verdict')}: {verdict}")
    speaker.say(f"{speaker.word('partner')}: {answer['partner'] or '-'}")
    if answer["reason"] is not None:
        speaker.say(f"{speaker.word('reason')}: {answer['reason'][speaker.language]}")
    if answer["route"] is not None:
        pairs = (
            f"{k}={v}" for k, v in answer["route"].items() if v not in {None, False}
        )
        speaker.say(f"{speaker.word('route')}: {' '.join(pairs)}")
    if answer["hosts"]:
        speaker.say(f"{speaker.word('hosts')}:")
        rows = [("  name", "dnssec", "tlsa", "assurance", "why")]
        rows += [
            (
                f"  {host['name']}",
                host["dnssec"],
                str(host["tlsa"] or "-"),
                str(host["assurance"] or "-"),
                host["why"],
            )
            for host in answer["hosts"]
        ]
        speaker.table(rows)


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    app.command()(classify)
    queue = typer.Typer(help="Wachtrij. / Queue.", no_args_is_help=True)
    queue.command("list")(queue_list)
    queue.callback()(_group)
    app.add_typer(queue, name="queue")
    message = typer.Typer(help="Berichten. / Messages.", no_args_is_help=True)
    message.command("trace")(message_trace)
    message.callback()(_group)
    app.add_typer(message, name="message")
    route = typer.Typer(help="Routes.", no_args_is_help=True)
    route.command("explain")(route_explain)
    route.callback()(_group)
    app.add_typer(route, name="route")


def _group() -> None:
    # No docstring: it would replace the help of each group. It keeps a group of one
    # verb a group.
    return
