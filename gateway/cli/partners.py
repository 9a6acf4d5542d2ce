"""`partners apply`, `partners list` and `partners show`."""

import asyncio
import dataclasses
import getpass
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.output import NO, Speaker, errors_told

if TYPE_CHECKING:
    from gateway.app import Installation
    from gateway.partnerfile import Change, PartnerFile

Json = Annotated[bool, typer.Option("--json", help="JSON.")]


def apply(
    context: typer.Context,
    file: Annotated[pathlib.Path, typer.Argument(help="TOML.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Toon alleen. / Show only.")
    ] = False,
    json: Json = False,
) -> None:
    """Maak het register zoals het bestand. / Make the registry as the file says."""
    from gateway import app, partnerfile

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        listed = partnerfile.parse_partner_file(
            file.read_text(encoding="utf-8"),
            installation.policy.municipalities,
            app.known_roles(),
        )
        changes = asyncio.run(_apply(installation, listed, dry_run=dry_run))
        for change in changes:
            _show_change(speaker, change)
        speaker.give(
            {
                "applied": not dry_run,
                "changes": [
                    {
                        "kind": change.kind.value,
                        "partner": change.after.id,
                        "fields": list(change.fields),
                    }
                    for change in changes
                ],
            }
        )
        if not changes:
            speaker.say(speaker.word("no_changes"))
        elif dry_run:
            speaker.say(speaker.word("dry_run"))
        else:
            speaker.say(speaker.word("applied", count=len(changes)))


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


def _show_change(speaker: Speaker, change: "Change") -> None:
    """The difference, field by field."""
    word = speaker.word(change.kind.value)
    speaker.say(f"{word}: {change.after.id} ({change.after.name})")
    for name in change.fields:
        before = getattr(change.before, name)
        after = getattr(change.after, name)
        speaker.say(f"  - {name}: {_shown(before)}")
        speaker.say(f"  + {name}: {_shown(after)}")


def _shown(value: object) -> str:
    if isinstance(value, frozenset | tuple):
        return ", ".join(sorted(str(item) for item in value))
    return str(getattr(value, "value", value))


def list_all(context: typer.Context, json: Json = False) -> None:
    """Toon alle partners. / List all partners."""
    from gateway import app, operations
    from gateway.store.partners import SqlPartners

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        partners = asyncio.run(SqlPartners(installation.store).list_all())
        answers = [operations.describe_partner(partner) for partner in partners]
        speaker.give(answers)
        if not answers:
            speaker.say(speaker.word("partners_none"))
            return
        rows: list[tuple[str, ...]] = [("id", "state", "roles", "domains", "route")]
        rows += [
            (
                f"{a['municipality']}/{a['id']}",
                a["state"],
                ",".join(a["roles"]),
                ",".join(a["domains"]),
                a["route"]["host"] or a["route"]["method"],
            )
            for a in answers
        ]
        speaker.table(rows)


def show(
    context: typer.Context,
    partner: Annotated[str, typer.Argument(help="id")],
    json: Json = False,
) -> None:
    """Toon een partner. / Show one partner."""
    from gateway import app, operations
    from gateway.store.partners import SqlPartners

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        partners = asyncio.run(SqlPartners(installation.store).list_all())
        found = [
            operations.describe_partner(p)
            for p in partners
            if partner in {p.id, f"{p.municipality}/{p.id}"}
        ]
        speaker.give(found)
        if not found:
            speaker.end(NO, speaker.word("not_found", what=partner))
        for answer in found:
            route = answer.pop("route")
            rows = [(key, _listed(value)) for key, value in answer.items()]
            rows += [(f"route.{key}", _listed(v)) for key, v in route.items()]
            speaker.table(rows)


def _listed(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(
            f"{item['address']} ({','.join(item['regimes'])})"
            if isinstance(item, dict)
            else str(item)
            for item in value
        )
    return "-" if value is None else str(value)


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    partners = typer.Typer(help="Ketenpartners. / Partners.", no_args_is_help=True)
    partners.command("apply")(apply)
    partners.command("list")(list_all)
    partners.command("show")(show)
    app.add_typer(partners, name="partners")
