"""`init`, `serve`, `doctor`, `config check` and `config show`."""

import dataclasses
import pathlib
from typing import Annotated, Any

import typer

from gateway.cli.output import DONE, NO, Speaker, errors_told

Json = Annotated[bool, typer.Option("--json", help="JSON.")]


def init(
    context: typer.Context,
    hostname: Annotated[
        str, typer.Option(help="Naam van deze gateway / name of this gateway.")
    ] = "ketenmail.voorbeeldstad.example",
    json: Json = False,
) -> None:
    """Maak instellingen, sleutels en database. / Create settings, keys, database."""
    from gateway import app

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker):
        made, kept = [], []
        path = pathlib.Path(speaker.config_path)
        if path.exists():
            kept.append(str(path))
        else:
            _write_settings(path, hostname)
            made.append(str(path))
        made += app.create(app.load_config(str(path)))
        for what in kept:
            speaker.say(speaker.word("kept", what=what))
        for what in made:
            speaker.say(speaker.word("created", what=what))
        speaker.say(speaker.word("init_next", path=path))
        speaker.give({"created": made, "kept": kept})


def _write_settings(path: pathlib.Path, hostname: str) -> None:
    """The example settings with this host's name and folders beside the file."""
    from gateway import app

    example = app.data_folder("deploy").joinpath("gateway.toml")
    text = example.read_text(encoding="utf-8")
    folder = path.resolve().parent
    state = "/var/lib/ketenmail"
    if folder != pathlib.Path("/etc/ketenmail"):
        text = text.replace("/etc/ketenmail", str(folder))
        text = text.replace(state, str(folder / "state"))
    text = text.replace("ketenmail.voorbeeldstad.example", hostname)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o640)
    path.write_text(text, encoding="utf-8")


def serve(context: typer.Context) -> None:
    """Draai de gateway tot SIGTERM. / Run the gateway until SIGTERM."""
    from gateway import app, telemetry
    from gateway.supervisor import Main, Supervisor

    speaker: Speaker = context.obj

    def load() -> list[tuple[str, Main]]:
        config = app.load_config(speaker.config_path)
        app.check_start(config)
        return app.processes(config)

    with errors_told(speaker):
        status = Supervisor(load, telemetry.make_log(worker="supervisor")).run()
        speaker.end(status)


def config_check(context: typer.Context, json: Json = False) -> None:
    """Controleer de instellingen en regels. / Check settings and rule packs."""
    from gateway import app

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker):
        config = app.load_config(speaker.config_path)
        policy = app.load_policy(config)
        app.load_hashes(config.clients)
        speaker.say(speaker.word("config_ok", path=speaker.config_path))
        warnings = _config_warnings(config)
        for warning in warnings:
            speaker.say(f"{speaker.word('doctor_warn')}: {warning}")
        speaker.give(
            {
                "ok": True,
                "config": config.digest,
                "policy": policy.digest,
                "warnings": warnings,
            }
        )


def _config_warnings(config: Any) -> list[str]:
    warnings = [
        f"municipality {m.id}: alternative_person / alternative_unknown: ontbreekt /"
        " missing (R23)"
        for m in config.municipalities.values()
        if m.alternative_person is None or m.alternative_unknown is None
    ]
    if config.allow_ranges:
        ranges = ", ".join(str(item.network) for item in config.allow_ranges)
        warnings.append(f"net.allow_ranges: {ranges} (R20)")
    return warnings


def config_show(context: typer.Context, json: Json = False) -> None:
    """Toon alle waarden en waar ze vandaan komen. / Show values and their origin."""
    from gateway import app

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    with errors_told(speaker):
        config = app.load_config(speaker.config_path)
        shown = _plain(config)
        del shown["text"]
        speaker.give(shown)
        rows: list[tuple[str, ...]] = []
        _flatten("", shown, rows)
        written = config.text
        speaker.table(
            [
                (key, value, "file" if key.rsplit(".", 1)[-1] in written else "default")
                for key, value in rows
            ]
        )


def _plain(value: Any) -> Any:
    """A frozen value as JSON-able data; sets are sorted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        return next(iter(fields.values())) if len(fields) == 1 else fields
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    return str(getattr(value, "value", value))


def _flatten(prefix: str, value: Any, rows: list[tuple[str, ...]]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten(f"{prefix}.{key}" if prefix else key, item, rows)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, 1):
            _flatten(f"{prefix}[{number}]", item, rows)
    else:
        rows.append((prefix, str(value)))


def doctor(context: typer.Context, json: Json = False) -> None:
    """Onderzoek de installatie. / Examine the installation."""
    from gateway.cli import examination

    speaker: Speaker = dataclasses.replace(context.obj, json=json)
    findings = examination.examine(speaker.config_path)
    words = {level: speaker.word(f"doctor_{level}") for level in ("ok", "warn", "fail")}
    speaker.table([(words[f.level], f.subject, f.detail) for f in findings])
    for finding in findings:
        if finding.remedy:
            remedy = f"{speaker.word('remedy')} ({finding.subject}): {finding.remedy}"
            speaker.say(remedy)
    fails = sum(f.level == "fail" for f in findings)
    warns = sum(f.level == "warn" for f in findings)
    speaker.say(speaker.word("doctor_summary", fails=fails, warns=warns))
    speaker.give([dataclasses.asdict(finding) for finding in findings])
    speaker.end(NO if fails else DONE)


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    app.command()(init)
    app.command()(serve)
    app.command()(doctor)
    config = typer.Typer(help="Instellingen. / Settings.", no_args_is_help=True)
    config.command("check")(config_check)
    config.command("show")(config_show)
    app.add_typer(config, name="config")
