"""`evidence export`, `evidence verify` and `evidence key`."""

import asyncio
import dataclasses
import hashlib
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.help import Verb, group
from gateway.cli.output import (
    NO,
    USAGE,
    Speaker,
    one_of,
    read_text,
    speaker_of,
    written_whole,
)

if TYPE_CHECKING:
    from gateway.app import Installation
    from gateway.evidence.verify import Report
    from gateway.model.ids import MunicipalityId

Json = Annotated[bool, typer.Option("--json")]
Whose = Annotated[str | None, typer.Option()]


def export(
    context: typer.Context,
    bundle: Annotated[pathlib.Path, typer.Argument()],
    municipality: Whose = None,
    message: Annotated[str | None, typer.Option()] = None,
    sealed: Annotated[bool, typer.Option("--sealed")] = False,
    json: Json = False,
) -> None:
    """Write a bundle that is verified offline; the export itself is evidence too."""
    from gateway import app
    from gateway import export as exporting

    speaker = speaker_of(context, json=json)
    with (
        app.opened(speaker.config_path) as installation,
        written_whole(bundle) as partial,
    ):
        owner = _owner(speaker, installation, municipality)
        exported = asyncio.run(
            exporting.export_bundle(
                installation, owner, message=message, with_openings=not sealed
            )
        )
        if exported is None:
            kind = "no_checkpoint" if message is None else "no_signed_message"
            speaker.refuse(NO, kind, message or owner)
        partial.write_bytes(exported.octets)
    fingerprint = fingerprint_of(exported.key)
    words = {"path": bundle, "count": exported.count, "size": exported.checkpoint_size}
    speaker.say(speaker.word("evidence.exported", **words))
    if not sealed:
        speaker.say(speaker.word("evidence.personal"))
    speaker.say(speaker.word("evidence.key", key=exported.key))
    speaker.say(speaker.word("evidence.fingerprint", fingerprint=fingerprint))
    speaker.give(
        {
            "path": str(bundle),
            "records": exported.count,
            "checkpoint": exported.checkpoint_size,
            "key": exported.key,
            "fingerprint": fingerprint,
        }
    )


def fingerprint_of(key: str) -> str:
    """What stands for a key when it is read aloud (docs/evidence-format.md)."""
    return f"SHA256:{hashlib.sha256(key.encode()).hexdigest()}"


def verify(
    context: typer.Context,
    bundle: Annotated[pathlib.Path, typer.Argument()],
    key: Annotated[str | None, typer.Option()] = None,
    checkpoint: Annotated[pathlib.Path | None, typer.Option()] = None,
    json: Json = False,
) -> None:
    """Verify a bundle, without network or database; needs no settings."""
    from gateway.evidence import verify as verifier

    speaker = speaker_of(context, json=json)
    data = bundle.read_bytes()
    note = None if checkpoint is None else checkpoint.read_bytes()
    report = verifier.verify_bundle(
        data, verifier.Trust(_fingerprint(speaker, key), note)
    )
    speaker.give(dataclasses.asdict(report))
    _show_report(speaker, report)
    speaker.end(report.exit_code)


def _fingerprint(speaker: Speaker, key: str | None) -> str | None:
    from gateway.evidence import verify as verifier

    if key is None:
        return None
    file = pathlib.Path(key)
    text = read_text(speaker, file) if _is_file(file) else key
    try:
        return verifier.read_trust(text)
    except verifier.Bad:
        speaker.refuse(USAGE, "no_key", f"--key {key}")


def _is_file(path: pathlib.Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a key is too long for the name of a file
        return False


def _show_report(speaker: Speaker, report: "Report") -> None:
    """Verdict, what is wrong or what holds; the verifier's own word stands beside."""
    verdict = speaker.name_of("verified", report.verdict)
    if speaker.language != "en":
        verdict += f" [{report.verdict}]"
    rows = [(speaker.word("evidence.verdict"), verdict)]
    if report.finding:
        rows += [
            (speaker.word("error.place"), report.finding["place"]),
            (speaker.word("error.problem"), report.finding[speaker.language]),
        ]
    facts = report.facts
    if "counts" in facts:
        ranges = ", ".join(
            f"{first}-{past - 1}" if first < past else "-"
            for first, past in facts["ranges"]
        )
        rows += [
            (speaker.word("evidence.log"), facts["origin"]),
            (
                speaker.word("evidence.records"),
                speaker.word("evidence.ranges", ranges=ranges, **facts["counts"]),
            ),
            (speaker.word("evidence.checkpoint"), str(facts["size"])),
            (speaker.word("evidence.of_key"), facts["fingerprint"]),
        ]
    speaker.table(rows)


def show_key(
    context: typer.Context, municipality: Whose = None, json: Json = False
) -> None:
    """Show the public key of a log, alone on a line."""
    from gateway import app
    from gateway import export as exporting

    speaker = speaker_of(context, json=json)
    with app.opened(speaker.config_path) as installation:
        owner = _owner(speaker, installation, municipality)
        key = exporting.log_key(installation, owner)
    speaker.say(key)
    fingerprint = fingerprint_of(key)
    speaker.give({"municipality": owner, "key": key, "fingerprint": fingerprint})


def _owner(
    speaker: Speaker, installation: "Installation", municipality: str | None
) -> "MunicipalityId":
    from gateway import app
    from gateway.model.ids import MunicipalityId

    known = list(installation.config.municipalities)
    owner = MunicipalityId(municipality or known[0])
    logs = [*known, app.GATEWAY_LOG]
    one_of(speaker, "--municipality", owner, logs, "no_municipality")
    return owner


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    evidence = group(app, "evidence")
    evidence.command("export", cls=Verb)(export)
    evidence.command("verify", cls=Verb)(verify)
    evidence.command("key", cls=Verb)(show_key)
