"""What went wrong, as place, problem and remedy; no traceback ever reaches a person.

Texts of `ConfigError` are English and stand between words of the reader's language.
What nobody foresaw gives one line without its message, which could hold personal data;
`--debug` shows the traceback.
"""

import dataclasses
import errno
import getpass
import json
import os
import pathlib
import sys
import traceback
from typing import Any

from typer.exceptions import TyperException

from gateway.cli.output import DONE, FAILED, NO, USAGE, Refusal, Speaker
from gateway.model.errors import (
    ConfigError,
    EvidenceError,
    GatewayError,
    RegistryError,
    RulebookError,
)
from gateway.texts import cli as texts

INTERRUPTED = 130  # as a shell counts SIGINT
# What a user named cannot be used; any other error of the system is the system's.
_NAMED_WRONGLY = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
}
_PACKAGE = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What a person reads, and the exit status."""

    status: int
    heading: str
    place: str
    problem: str
    remedy: str


def tell(speaker: Speaker, error: BaseException) -> int:
    """Say on standard error what went wrong; answers the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    # The reader saw enough, as in `... | head`; typer turns that into SystemExit.
    if isinstance(error, BrokenPipeError | SystemExit):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    if speaker.debug:
        traceback.print_exception(error)
    fault = describe(speaker, error)
    if speaker.json and not speaker.gave:
        given = {
            name: getattr(fault, name)
            for name in ("status", "place", "problem", "remedy")
        }
        print(json.dumps({"error": given}, ensure_ascii=False, indent=2))
    print(_shown(speaker, fault), file=sys.stderr)
    return fault.status


def _shown(speaker: Speaker, fault: Fault) -> str:
    if not fault.problem:  # the one line of a bug
        return f"{fault.heading} ({fault.place}). {fault.remedy}"
    names = [speaker.word(f"error.{name}") for name in ("place", "problem", "remedy")]
    width = max(map(len, names)) + 1
    values = (fault.place, fault.problem, fault.remedy)
    lines = [
        f"  {name + ':':<{width}} {value}"
        for name, value in zip(names, values, strict=True)
    ]
    return "\n".join([fault.heading, *lines])


def describe(speaker: Speaker, error: BaseException) -> Fault:
    """An error as a fault; anything is one."""
    match error:
        case Refusal():
            heading = speaker.word("error.no" if error.status == NO else "error.usage")
            if error.status == FAILED:
                heading = speaker.word("error.failed")
            return Fault(
                error.status, heading, error.place, error.problem, error.remedy
            )
        case ConfigError():
            return _of_settings(speaker, error)
        case GatewayError():
            return _of_system(speaker, error)
        case TyperException():
            return _of_usage(speaker, error)
        case OSError():
            return _of_file(speaker, error)
        case _:
            return _of_bug(speaker, error)


def _of_settings(speaker: Speaker, error: ConfigError) -> Fault:
    kind = {RegistryError: "partners", RulebookError: "rules"}.get(
        type(error), "settings"
    )
    remedy = error.remedy
    if _caused_by_rights(error):
        remedy = speaker.word("errno.EACCES.remedy", user=_user())
    heading = speaker.word(f"error.{kind}")
    place = error.place
    if kind == "settings":
        place = within(speaker.config_path, place)
    return Fault(USAGE, heading, place, error.problem, remedy)


def within(path: str, place: str) -> str:
    """A place in a file, with the file; `file` is what is said of it as a whole."""
    return path if place in {"file", path} else f"{path}: {place}"


def _caused_by_rights(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, PermissionError) or (
        cause is not None and _caused_by_rights(cause)
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.geteuid())


def _of_system(speaker: Speaker, error: GatewayError) -> Fault:
    place, _, problem = str(error).partition(": ")
    kind = "dns" if place.startswith("DNS") else "other"
    if isinstance(error, EvidenceError):
        kind = "evidence"
    if not problem:
        place, problem = speaker.config_path, place
    heading = speaker.word("error.failed")
    remedy = speaker.word(f"failed.{kind}", path=speaker.config_path)
    return Fault(FAILED, heading, place, problem, remedy)


def _of_file(speaker: Speaker, error: OSError) -> Fault:
    """An error of the operating system, in words where we know what helps."""
    named = error.errno in _NAMED_WRONGLY
    heading = speaker.word("error.usage" if named else "error.failed")
    name = errno.errorcode.get(error.errno or 0, "")
    if f"errno.{name}.problem" in texts.sentences(speaker.language):
        problem = speaker.word(f"errno.{name}.problem")
        remedy = speaker.word(f"errno.{name}.remedy", user=_user())
    else:
        problem = error.strerror or type(error).__name__
        remedy = speaker.word("failed.other", path=speaker.config_path)
    place = str(error.filename or speaker.config_path)
    return Fault(USAGE if named else FAILED, heading, place, problem, remedy)


def _of_usage(speaker: Speaker, error: Any) -> Fault:
    """What typer says of a wrong command, in the reader's language."""
    context = getattr(error, "ctx", None)
    place = context.command_path if context is not None else "ketenmail"
    kind = type(error).__name__
    option = getattr(error, "option_name", "")
    parameter = getattr(error, "param", None)
    hint = ""
    if parameter is not None:
        is_option = parameter.param_type_name == "option"
        hint = parameter.opts[0] if is_option else parameter.name.upper()
    key = f"usage.{kind}"
    if key not in texts.sentences(speaker.language):
        key = "usage.other"
    problem = speaker.word(
        key,
        option=option,
        parameter=hint,
        message=error.message.rstrip("."),
    )
    remedy = speaker.word("usage.remedy", command=f"{place} --help")
    return Fault(USAGE, speaker.word("error.usage"), place, problem, remedy)


def _of_bug(speaker: Speaker, error: BaseException) -> Fault:
    place = type(error).__name__
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if pathlib.Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    if ours:
        file = pathlib.Path(ours[-1].filename).relative_to(_PACKAGE.parent)
        place = f"{place}, {file}:{ours[-1].lineno}"
    remedy = speaker.word("error.bug_remedy")
    return Fault(FAILED, speaker.word("error.bug"), place, "", remedy)
