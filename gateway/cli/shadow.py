"""`shadow` and `policy report`: the policy on copies of mail; nothing is sent (R3)."""

import asyncio
import collections
import datetime
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.help import Verb, group
from gateway.cli.output import DONE, NO, Speaker, one_of, speaker_of

if TYPE_CHECKING:
    from gateway.app import Installation
    from gateway.model.ids import MunicipalityId
    from gateway.shadow.watch import Judgement

Json = Annotated[bool, typer.Option("--json")]
Owner = Annotated[str | None, typer.Option("--municipality")]
_SEEN = ("relay", "hold", "refuse", "incoming", "nobody")
_STOPPED = ("hold", "refuse")


def shadow(
    context: typer.Context,
    files: Annotated[list[pathlib.Path], typer.Argument()],
    municipality: Owner = None,
    count: Annotated[bool, typer.Option("--count")] = False,
    json: Json = False,
) -> None:
    """Decide about messages in files; the answer is no when one would be stopped."""
    from gateway import app

    speaker = speaker_of(context, json=json)
    for path in files:  # a name that is wrong is found before anything is counted
        path.open("rb").close()
    with app.opened(speaker.config_path) as installation:
        owner = _owner(speaker, installation, municipality)
        messages = asyncio.run(
            _judge_files(speaker, installation, owner, files, count=count)
        )
    totals = collections.Counter(message["verdict"] for message in messages)
    counts = {word: totals[word] for word in _SEEN}
    speaker.give({"messages": messages, "totals": counts, "counted": count})
    pairs = (f"{speaker.name_of('seen', word)} {counts[word]}" for word in _SEEN)
    speaker.say(f"{speaker.word('shadow.total')} {len(messages)}: {', '.join(pairs)}")
    if count:
        speaker.say(speaker.word("shadow.counted"))
    speaker.end(NO if any(counts[word] for word in _STOPPED) else DONE)


def _owner(
    speaker: Speaker, installation: "Installation", municipality: str | None
) -> "MunicipalityId":
    from gateway.model.ids import MunicipalityId

    known = list(installation.config.municipalities)
    owner = MunicipalityId(municipality or known[0])
    one_of(speaker, "--municipality", owner, known, "no_municipality")
    return owner


async def _judge_files(
    speaker: Speaker,
    installation: "Installation",
    owner: "MunicipalityId",
    files: Sequence[pathlib.Path],
    *,
    count: bool,
) -> list[dict[str, Any]]:
    """Judge message after message, each shown as soon as it is known."""
    from gateway import app, clock
    from gateway.shadow import mailfile, watch
    from gateway.store.shadow import SqlShadow

    house, tallies = app.make_house(installation), SqlShadow(installation.store)
    answers = []
    for path in files:
        for number, octets in enumerate(mailfile.messages_of(path), 1):
            judgement = await watch.judge_filed(octets, owner, house)
            if count:
                day = mailfile.day_of(octets, clock.now().date())
                await tallies.add(owner, day, watch.tally_of(judgement))
            answer = {"file": str(path), "number": number, **_describe(judgement)}
            _show(speaker, answer)
            answers.append(answer)
    return answers


def _describe(judgement: "Judgement") -> dict[str, Any]:
    """A judgement as JSON: domains only, as in what is counted."""
    from gateway.shadow import watch

    return {
        "verdict": judgement.seen.value,
        "level": judgement.classification.level.word,
        "recipients": [
            {
                "domain": verdict.recipient.domain.name,
                "verdict": watch.seen_of(verdict).value,
                "row": watch.row_of(verdict),
            }
            for verdict in judgement.verdicts
        ],
        "rules": watch.rules_of(judgement),
    }


def _show(speaker: Speaker, answer: Mapping[str, Any]) -> None:
    verdict = speaker.name_of("seen", answer["verdict"])
    level = speaker.name_of("class", answer["level"])
    speaker.say(f"{answer['file']} {answer['number']}: {verdict} ({level})")
    for recipient in answer["recipients"]:
        verdict = speaker.name_of("seen", recipient["verdict"])
        speaker.say(f"  {recipient['domain']}: {verdict} ({recipient['row']})")
    if answer["rules"]:
        speaker.say(f"  {speaker.word('shadow.rules')}: {', '.join(answer['rules'])}")


def policy_report(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=1, max=400)] = 7,
    municipality: Owner = None,
    json: Json = False,
) -> None:
    """Show what shadow mode counted in the last days, today included."""
    from gateway import app, clock
    from gateway.shadow.report import describe_counts
    from gateway.store.shadow import SqlShadow

    speaker = speaker_of(context, json=json)
    today = clock.now().date()
    since = today - datetime.timedelta(days=days - 1)
    with app.opened(speaker.config_path) as installation:
        owner = _owner(speaker, installation, municipality)
        rows = asyncio.run(SqlShadow(installation.store).since(owner, since))
    described = describe_counts(rows)
    span = {"since": since.isoformat(), "until": today.isoformat()}
    speaker.give({"municipality": owner, **span, **described})
    if not rows:
        speaker.say(speaker.word("report.none", **span))
        return
    _show_report(speaker, described)


def _show_report(speaker: Speaker, report: Mapping[str, Any]) -> None:
    names = ("all", *_SEEN)
    heading = ("", speaker.word("report.all"), *_named(speaker, _SEEN))
    days = [(day["day"], *(day[name] for name in names)) for day in report["per_day"]]
    total = (speaker.word("report.total"), *(report["messages"][n] for n in names))
    speaker.table([heading, *days, total])
    for table, key in (("rules", "rule"), ("domains", "domain")):
        speaker.say("\n" + speaker.word(f"report.{table}"))
        rows = [
            (each[key], *(each[word] for word in _STOPPED)) for each in report[table]
        ]
        if rows:
            speaker.table([("", *_named(speaker, _STOPPED)), *rows], indent="  ")
        else:
            speaker.say(f"  {speaker.word('report.nothing')}")
    speaker.say("\n" + speaker.word("report.rows"))
    speaker.table(
        [
            (each["row"], speaker.name_of("seen", each["verdict"]), each["recipients"])
            for each in report["rows"]
        ],
        indent="  ",
    )


def _named(speaker: Speaker, words: Sequence[str]) -> list[str]:
    return [speaker.name_of("seen", word) for word in words]


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    app.command(cls=Verb)(shadow)
    group(app, "policy").command("report", cls=Verb)(policy_report)
