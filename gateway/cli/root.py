"""The root of the command line: options that hold for every verb."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gateway import VERSION
from gateway.cli import (
    evidence,
    fault,
    mail,
    partners,
    sandbox,
    settings,
    setup,
    shadow,
)
from gateway.cli.help import Group
from gateway.cli.output import DONE, USAGE, Speaker, language_of
from gateway.texts.cli import LANGUAGES

CONFIG = "/etc/ketenmail/gateway.toml"

app = typer.Typer(
    name="ketenmail",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,  # it would speak English and write in the user's shell files
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"ketenmail {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[str, typer.Option("--config", "-c")] = CONFIG,
    lang: Annotated[str | None, typer.Option("--lang")] = None,
    debug: Annotated[bool, typer.Option("--debug")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options that come before the verb."""
    del version
    speaker: Speaker = context.obj
    if lang not in {None, *LANGUAGES}:
        speaker.refuse(USAGE, "no_language", f"--lang {lang}")
    speaker.config_path = config
    speaker.debug = debug


for module in (setup, settings, mail, shadow, partners, evidence, sandbox):
    module.add_to(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command; answers its exit status and never raises.

    Language and form are read off before anything else, so that a wrong option is
    explained in them too.
    """
    speaker = Speaker(
        language_of(_language(arguments)),
        CONFIG,
        json="--json" in arguments,
        debug="--debug" in arguments,
    )
    try:
        status = typer.main.get_command(app).main(
            list(arguments), "ketenmail", standalone_mode=False, obj=speaker
        )
    except BaseException as error:  # noqa: BLE001 - no traceback reaches a person
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error)  # a group without its verb shows what verbs there are
            return USAGE
        return fault.tell(speaker, error)
    return status if isinstance(status, int) else DONE


def _language(arguments: Sequence[str]) -> str | None:
    """What `--lang` says, before the command line was parsed."""
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        choice = after if word == "--lang" else word.removeprefix("--lang=")
        if word.startswith("--lang") and choice in LANGUAGES:
            return choice
    return None


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))
