"""`--help` in one language, plain text: no boxes, for a screen reader and for `less`.

Each command's help comes from the texts, `help.<verb>._` for what it does and
`help.<verb>.<parameter>` for each option. The docstring of a command is for developers.
"""

from typing import Any

import typer
import typer.core

from gateway.cli.output import USAGE, language_of
from gateway.texts import cli as texts

_WIDTH = 88


def _language(context: Any) -> str:
    return getattr(context.obj, "language", None) or language_of(None)


def _path(context: Any) -> str:
    """The key of a command: `root`, or its words joined by an underscore."""
    words = []
    while context.parent is not None:
        words.append(context.info_name)
        context = context.parent
    return "_".join(reversed(words)) or "root"


def _usage(context: Any) -> str:
    """How to type it: names as they are typed, arguments in capitals."""
    pieces = [context.command_path]
    for parameter in context.command.params:
        if parameter.param_type_name == "argument":
            name = parameter.name.upper()
            pieces.append(f"{name}..." if parameter.nargs == -1 else name)
    if hasattr(context.command, "commands"):
        pieces.append(texts.word("help.verb", _language(context)))
    return " ".join([*pieces, "[--...]"])


def _rows(context: Any, kind: str) -> list[tuple[str, str]]:
    language, path = _language(context), _path(context)
    rows = []
    for parameter in context.command.params:
        if parameter.param_type_name != kind:
            continue
        shown = ", ".join(sorted(parameter.opts, key=len))
        if kind == "argument":
            shown = parameter.name.upper()
        elif not parameter.is_flag:
            shown += f" {parameter.name.upper()}"
        rows.append((shown, texts.word(f"help.{path}.{parameter.name}", language)))
    if kind == "option":
        rows.append(("-h, --help", texts.word("help.help", language)))
    return rows


def _verbs(context: Any) -> list[tuple[str, str]]:
    language, path = _language(context), _path(context)
    prefix = "" if path == "root" else f"{path}_"
    return [
        (name, texts.word(f"help.{prefix}{name}._", language))
        for name in getattr(context.command, "commands", {})
    ]


def format_help(context: Any, formatter: Any) -> None:
    """Write the help of one command."""
    language = _language(context)
    formatter.width = _WIDTH
    formatter.write(f"{texts.word('help.usage', language)}: {_usage(context)}\n\n")
    formatter.write_text(texts.word(f"help.{_path(context)}._", language))
    for title, rows in (
        ("help.arguments", _rows(context, "argument")),
        ("help.options", _rows(context, "option")),
        ("help.commands", _verbs(context)),
    ):
        if rows:
            with formatter.section(texts.word(title, language)):
                formatter.write_dl(rows)


class Verb(typer.core.TyperCommand):
    """A command with help of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See `format_help` of this module."""
        format_help(ctx, formatter)


class Group(typer.core.TyperGroup):
    """A group of commands with help of ours."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; an unknown word is answered with those there are."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            known = ", ".join(self.commands)
            place = f"{ctx.command_path} {args[0]}"
            ctx.obj.refuse(USAGE, "no_word", place, known=known)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See `format_help` of this module."""
        format_help(ctx, formatter)


def group(app: typer.Typer, name: str) -> typer.Typer:
    """A group of verbs, added to the root."""
    made = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made
