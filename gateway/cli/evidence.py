"""`evidence export`, `evidence verify` and `evidence key`."""

import asyncio
import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import NO, USAGE, Speaker, errors_told

if TYPE_CHECKING:
    from gateway.app import Installation

Json = Annotated[bool, typer.Option("--json", help="JSON.")]
Whose = Annotated[
    str | None, typer.Option(help="Gemeente / municipality; _gateway: eigen log.")
]


def export(
    context: typer.Context,
    path: Annotated[pathlib.Path, typer.Argument(help="BUNDEL.zip")],
    municipality: Whose = None,
    message: Annotated[
        str | None, typer.Option(help="Alleen dit bericht. / Only this message.")
    ] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Zonder waarden. / Without openings.")
    ] = False,
    json: Json = False,
) -> None:
    """Schrijf een bundel die offline te controleren is. / Write an offline bundle."""
    from gateway import app, clock
    from gateway import export as exporting

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        owner = _owner(speaker, installation, municipality)
        exported = asyncio.run(
            exporting.export_bundle(
                installation, owner, message=message, with_openings=not sealed
            )
        )
        if exported is None:
            speaker.end(NO, speaker.word("export_none"))
        # Never a half-written bundle: it gets its name when it is whole.
        partial = path.with_name(f"{path.name}.{clock.new_id()}.part")
        partial.write_bytes(exported.octets)
        partial.replace(path)
        speaker.say(
            speaker.word(
                "export_done",
                path=path,
                count=exported.count,
                size=exported.checkpoint_size,
            )
        )
        speaker.say(speaker.word("export_key", public=exported.key))
        speaker.give(
            {
                "path": str(path),
                "records": exported.count,
                "checkpoint": exported.checkpoint_size,
                "key": exported.key,
            }
        )


def verify(
    context: typer.Context,
    path: Annotated[pathlib.Path, typer.Argument(help="BUNDEL.zip")],
    key: Annotated[
        str | None, typer.Option(help="Sleutel, vingerafdruk of bestand / key.")
    ] = None,
    checkpoint: Annotated[
        pathlib.Path | None, typer.Option(help="Eerder controlepunt / earlier one.")
    ] = None,
    json: Json = False,
) -> None:
    """Controleer een bundel, zonder netwerk of database. / Verify a bundle, offline."""
    from gateway.evidence import verify as verifier

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker):
        data = path.read_bytes()
        note = None if checkpoint is None else checkpoint.read_bytes()
        trust = verifier.Trust(_fingerprint(speaker, key), note)
        report = verifier.verify_bundle(data, trust)
        speaker.say(report.text())
        speaker.give(dataclasses.asdict(report))
        speaker.end(report.exit_code)


def _fingerprint(speaker: Speaker, key: str | None) -> str | None:
    from gateway.evidence import verify as verifier

    if key is None:
        return None
    file = pathlib.Path(key)
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else key
        return verifier.read_trust(text)
    except (OSError, UnicodeDecodeError, verifier.Bad):
        speaker.end(USAGE, speaker.word("not_found", what=f"--key {key}"))


def show_key(
    context: typer.Context, municipality: Whose = None, json: Json = False
) -> None:
    """Toon de publieke sleutel van het log. / Show the public key of the log."""
    from gateway import app
    from gateway import export as exporting

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker), app.opened(speaker.config_path) as installation:
        owner = _owner(speaker, installation, municipality)
        key = exporting.log_key(installation, owner)
        speaker.say(key)
        speaker.give({"municipality": owner, "key": key})


def _owner(
    speaker: Speaker, installation: "Installation", municipality: str | None
) -> Any:
    from gateway import app
    from gateway.model.ids import MunicipalityId

    known = installation.config.municipalities
    owner = MunicipalityId(municipality or next(iter(known)))
    if owner not in known and owner != app.GATEWAY_LOG:
        what = f"{owner} ({', '.join(known)}, {app.GATEWAY_LOG})"
        speaker.end(USAGE, speaker.word("not_found", what=what))
    return owner


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    evidence = typer.Typer(help="Bewijs. / Evidence.", no_args_is_help=True)
    evidence.command("export")(export)
    evidence.command("verify")(verify)
    evidence.command("key")(show_key)
    app.add_typer(evidence, name="evidence")
