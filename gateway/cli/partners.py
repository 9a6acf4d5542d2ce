"""`partners apply`, `partners list` and `partners show`."""

import asyncio
import getpass
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.fault import within
from gateway.cli.help import Verb, group
from gateway.cli.output import NO, Speaker, read_text, speaker_of
from gateway.cli.settings import flatten, shown
from gateway.model.errors import RegistryError
from gateway.model.ids import RegimeId

if TYPE_CHECKING:
    from gateway.app import Installation
    from gateway.partnerfile import Change, PartnerFile

Json = Annotated[bool, typer.Option("--json")]


def apply(
    context: typer.Context,
    file: Annotated[pathlib.Path, typer.Argument()],
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    json: Json = False,
) -> None:
    """Make the registry as the file says, after showing the difference."""
    from gateway import app

    speaker = speaker_of(context, json=json)
    text = read_text(speaker, file)
    with app.opened(speaker.config_path) as installation:
        try:
            listed = _parse(text, installation)
        except RegistryError as error:
            place = within(str(file), error.place)
            raise RegistryError(place, error.problem, error.remedy) from error
        changes = asyncio.run(_apply(installation, listed, dry_run=dry_run))
    differences = [(change, list(_differences(change))) for change in changes]
    for change, fields in differences:
        kind = speaker.word(f"partners.{change.kind.value}")
        speaker.say(f"{kind}: {change.after.id} ({change.after.name})")
        for name, before, after in fields:
            speaker.say(f"  {name}: {shown(before)} -> {shown(after)}")
    speaker.give(
        {
            "applied": not dry_run,
            "changes": [
                {
                    "kind": change.kind.value,
                    "partner": change.after.id,
                    "fields": {n: {"before": b, "after": a} for n, b, a in fields},
                }
                for change, fields in differences
            ],
        }
    )
    answer = "dry_run" if dry_run else "applied"
    answer = answer if changes else "no_changes"
    speaker.say(speaker.word(f"partners.{answer}", count=len(changes)))


def _parse(text: str, installation: "Installation") -> "PartnerFile":
    from gateway import app, partnerfile

    policy = installation.policy
    listed = partnerfile.parse_partner_file(
        text, policy.municipalities, app.known_roles()
    )
    check_regimes(listed, app.regimes_of(policy))
    return listed


def check_regimes(listed: "PartnerFile", known: Iterable[RegimeId]) -> None:
    """A mailbox for a regime that no rule pack has would never get anything.

    Raises:
        RegistryError: Naming the partner and what there is.
    """
    regimes = frozenset(known)
    for partner in listed.partners:
        for box in partner.mailboxes:
            if odd := sorted(box.regimes - regimes):
                raise RegistryError(
                    f"partner {partner.id}.mailbox.regimes",
                    f"has unknown regime {', '.join(odd)}",
                    f"write a list of some of: {', '.join(sorted(regimes))}",
                )


async def _apply(
    installation: "Installation", listed: "PartnerFile", *, dry_run: bool
) -> tuple["Change", ...]:
    """Compare and, unless it is a dry run, write changes and evidence as one unit."""
    from gateway import app, partnerfile
    from gateway.store.partners import SqlPartners

    registry = SqlPartners(installation.store)
    registered = await registry.list_all(listed.municipality)
    changes = partnerfile.differ(listed, {p.id: p for p in registered})
    if changes and not dry_run:
        records = app.partner_records(
            changes, installation.policy.digest, f"os-user:{getpass.getuser()}"
        )
        await registry.apply(changes, records)
    return changes


def _differences(change: "Change") -> Iterable[tuple[str, Any, Any]]:
    """What differs, under the keys of `partners show`; all that is new when added."""
    from gateway import operations

    after = dict(flatten(operations.describe_partner(change.after)))
    if change.before is None:
        return
    before = dict(flatten(operations.describe_partner(change.before)))
    for name in sorted({*before, *after} - {"digest"}):
        pair = (before.get(name), after.get(name))
        if pair[0] != pair[1]:
            yield name, *pair


def list_all(context: typer.Context, json: Json = False) -> None:
    """List all partners."""
    from gateway import app, operations
    from gateway.store.partners import SqlPartners

    speaker = speaker_of(context, json=json)
    with app.opened(speaker.config_path) as installation:
        partners = asyncio.run(SqlPartners(installation.store).list_all())
    answers = [operations.describe_partner(partner) for partner in partners]
    speaker.give(answers)
    if not answers:
        speaker.say(speaker.word("partners.none"))
        return
    names = ("partner", "state", "until", "roles", "domains", "route")
    rows: list[tuple[object, ...]] = [
        tuple(speaker.word(f"partners.{name}") for name in names)
    ]
    rows += [
        (
            f"{a['municipality']}/{a['id']}",
            speaker.name_of("registration", a["state"]),
            a["valid_until"] or "-",
            ", ".join(a["roles"]),
            ", ".join(a["domains"]) or "-",
            a["route"]["host"] or a["route"]["method"],
        )
        for a in answers
    ]
    speaker.table(rows)


def show(
    context: typer.Context,
    partner: Annotated[str, typer.Argument()],
    json: Json = False,
) -> None:
    """Show one partner."""
    from gateway import app, operations
    from gateway.store.partners import SqlPartners

    speaker = speaker_of(context, json=json)
    with app.opened(speaker.config_path) as installation:
        partners = asyncio.run(SqlPartners(installation.store).list_all())
    found = [
        operations.describe_partner(p)
        for p in partners
        if partner in {p.id, f"{p.municipality}/{p.id}"}
    ]
    speaker.give(found)
    if not found:
        known = ", ".join(p.id for p in partners) or "-"
        speaker.refuse(NO, "no_partner", partner, known=known)
    for answer in found:
        _show_one(speaker, answer)


def _show_one(speaker: Speaker, answer: dict[str, Any]) -> None:
    speaker.table([(key, shown(value)) for key, value in flatten(answer)])


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    partners = group(app, "partners")
    partners.command("apply", cls=Verb)(apply)
    partners.command("list", cls=Verb)(list_all)
    partners.command("show", cls=Verb)(show)
