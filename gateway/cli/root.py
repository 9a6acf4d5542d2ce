"""The root of the command line: options that hold for every verb."""

from typing import Annotated

import typer

from gateway import VERSION
from gateway.cli import evidence, mail, partners, sandbox, setup
from gateway.cli.output import Speaker, language_of

app = typer.Typer(
    name="ketenmail",
    help="Beveiligde mailgateway voor gemeenten. / Secure mail gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"ketenmail {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        str, typer.Option("--config", "-c", help="Instellingen / settings file.")
    ] = "/etc/ketenmail/gateway.toml",
    lang: Annotated[
        str | None, typer.Option("--lang", help="nl (standaard) of / or en.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options that come before the verb."""
    del version
    if lang not in {None, "nl", "en"}:
        raise typer.BadParameter("nl | en", param_hint="--lang")
    context.obj = Speaker(language_of(lang), config)


setup.add_to(app)
mail.add_to(app)
partners.add_to(app)
evidence.add_to(app)
sandbox.add_to(app)


def main() -> None:
    """The entry point."""
    app()
