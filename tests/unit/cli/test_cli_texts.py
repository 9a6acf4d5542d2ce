"""Every sentence of the command line is there, twice, and is used."""

import errno
import pathlib
import re
import string

import pytest
import typer

from gateway.cli import fault, root
from gateway.evidence.verify import Trust, verify_bundle
from gateway.evidence.vocabulary import EVENTS
from gateway.model.classification import Level
from gateway.model.job import JobState, RecipientStatus
from gateway.model.partner import PartnerState
from gateway.partnerfile import ChangeKind
from gateway.texts import cli as texts

CLI = pathlib.Path(root.__file__).parent
SOURCE = "".join(path.read_text("utf-8") for path in sorted(CLI.glob("*.py")))
NL, EN = texts.sentences("nl"), texts.sentences("en")


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_keys_in_the_same_order():
    assert list(NL) == list(EN)


@pytest.mark.parametrize("key", NL)
def test_a_sentence_has_the_same_placeholders_in_both_languages(key):
    assert placeholders(NL[key]) == placeholders(EN[key])
    assert NL[key].strip() == NL[key] != ""
    assert EN[key].strip() == EN[key] != ""


def test_no_sentence_was_left_in_the_other_language():
    same = {
        key
        for key in NL
        if NL[key] == EN[key] and not key.startswith(("subject.", "help."))
    }
    words = {NL[key] for key in same}
    commands = {word for word in words if word.startswith("ketenmail ")}
    assert all(len(word.split()) == 1 for word in words - commands), words


# Keys that are put together from a value of ours; each kind has its test below.
PUT_TOGETHER = (
    "help.",
    "errno.",
    "usage.",
    "event.",
    "state.",
    "status.",
    "class.",
    "verdict.",
    "registration.",
    "verified.",
    "subject.",
    "level.",
    "origin.",
)


@pytest.mark.parametrize("key", [k for k in NL if not k.startswith(PUT_TOGETHER)])
def test_every_sentence_is_said_somewhere(key):
    stem = re.sub(r"(\.\w+)\.(detail|problem|remedy)$", r"\1", key)
    name = stem.split(".", 1)[1]
    said = re.search(rf"{re.escape(stem)}\b|[\"']{name}[\"']", SOURCE)
    assert said or name in {kind.value for kind in ChangeKind}


def named(table: str) -> set[str]:
    return {key.split(".", 1)[1] for key in NL if key.startswith(f"{table}.")}


def test_every_value_that_people_read_has_a_name():
    assert named("event") == set(EVENTS)
    assert named("state") == {state.value for state in JobState}
    assert named("status") == {status.value for status in RecipientStatus}
    assert named("class") == {level.word for level in Level}
    assert named("verdict") == {"relay", "refuse", "hold"}
    assert named("registration") == {state.value for state in PartnerState}
    assert {kind.value for kind in ChangeKind} <= named("partners")
    assert named("level") == {"ok", "warn", "fail"}


def test_every_verdict_of_the_verifier_has_a_name():
    source = pathlib.Path(verify_bundle.__code__.co_filename).read_text("utf-8")
    said = set(re.findall(r'verdict(?:\), verdict)? = (?:"", "", )?"([^"]+)"', source))
    said |= set(re.findall(r'\), verdict = bad\.args, "([^"]+)"', source))
    assert verify_bundle(b"", Trust()).verdict in named("verified")
    assert said == named("verified")


def test_every_subject_of_the_doctor_has_a_name():
    looked = set(re.findall(r'Desk\(speaker, "(\w+)"\)', SOURCE))
    assert looked == named("subject")


def test_the_errors_of_the_system_that_we_explain_exist():
    explained = {name.split(".")[0] for name in named("errno")}
    assert explained <= set(errno.errorcode.values())
    assert {errno.errorcode[n] for n in fault._NAMED_WRONGLY} <= explained


def commands():
    """Every command with its key in the texts."""

    def walk(command, key):
        yield command, key or "root"
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(sub, f"{key}_{name}" if key else name)

    return list(walk(typer.main.get_command(root.app), ""))


def test_every_command_and_every_option_is_explained_and_no_other():
    wanted = {"help", "usage", "verb", "arguments", "options", "commands"}
    for command, key in commands():
        wanted.add(f"{key}._")
        wanted |= {f"{key}.{p.name}" for p in command.params if p.name != "help"}
    assert named("help") == wanted


def test_every_answer_can_be_had_as_json():
    leaves = [c for c, key in commands() if not hasattr(c, "commands")]
    assert len(leaves) == 18
    for command in leaves:
        assert "--json" in [opt for p in command.params for opt in p.opts], command.name


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("key", [key for _, key in commands()])
def test_help_is_in_one_language_and_needs_no_wide_terminal(key, language, capsys):
    words = [] if key == "root" else key.split("_")
    assert root.run(["--lang", language, *words, "--help"]) == 0
    shown = capsys.readouterr().out
    flat = " ".join(shown.split())
    assert texts.word(f"help.{key}._", language).split(";")[0] in flat
    other = "en" if language == "nl" else "nl"
    assert texts.word("help.help", other) not in flat
    assert max(map(len, shown.splitlines())) <= 100


def test_a_missing_sentence_is_a_bug_and_a_value_without_a_name_is_itself():
    with pytest.raises(KeyError):
        texts.word("no.such", "nl")
    assert texts.name_of("state", "held", "nl") == "vastgehouden"
    assert texts.name_of("state", "unheard-of", "nl") == "unheard-of"
