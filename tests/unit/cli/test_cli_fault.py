"""Whatever goes wrong: place, problem, remedy, the right status, and no traceback."""

import json

import pytest

from gateway.cli import fault, root, setup
from gateway.cli.output import Refusal, Speaker
from gateway.model.errors import (
    ConfigError,
    EvidenceError,
    RegistryError,
    RulebookError,
    TemporaryFailure,
)


def speaker(language="nl", **more) -> Speaker:
    return Speaker(language, "/etc/k/gateway.toml", **more)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


CASES = [
    (
        ConfigError("gateway.workers", "p", "r"),
        2,
        "/etc/k/gateway.toml: gateway.workers",
    ),
    (ConfigError("/etc/k/gateway.toml", "p", "r"), 2, "/etc/k/gateway.toml"),
    (ConfigError("file", "p", "r"), 2, "/etc/k/gateway.toml"),
    (RegistryError("p.toml: partner[1]", "p", "r"), 2, "p.toml: partner[1]"),
    (RulebookError("wvggz.toml: title", "p", "r"), 2, "wvggz.toml: title"),
    (TemporaryFailure("DNS self-test: time-out"), 3, "DNS self-test"),
    (TemporaryFailure("no colon here"), 3, "/etc/k/gateway.toml"),
    (EvidenceError("log: does not verify"), 3, "log"),
    (FileNotFoundError(2, "No such file", "x.eml"), 2, "x.eml"),
    (IsADirectoryError(21, "Is a directory", "/tmp"), 2, "/tmp"),
    (PermissionError(13, "Permission denied", "x"), 2, "x"),
    (OSError(28, "No space left", "bundle.zip"), 3, "bundle.zip"),
    (OSError(98, "in use", "listener[1] 127.0.0.1:25"), 2, "listener[1] 127.0.0.1:25"),
    (OSError(5, "Input/output error", "x"), 3, "x"),
    (OSError("strange"), 3, "/etc/k/gateway.toml"),
    (Refusal(1, "here", "p", "r"), 1, "here"),
    (Refusal(3, "here", "p", "r"), 3, "here"),
]


@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize(("error", "status", "place"), CASES)
def test_an_error_names_place_problem_and_remedy(
    error, status, place, language, capsys
):
    assert fault.tell(speaker(language), error) == status
    said = capsys.readouterr()
    assert said.out == ""
    heading, *lines = said.err.splitlines()
    values = [line.split(": ", 1)[1].strip() for line in lines]
    assert values[0] == place
    assert len(values) == 3
    assert all(values)
    assert heading


def test_headings_say_what_kind_of_thing_is_wrong(capsys):
    headings = {fault.describe(speaker(), error).heading for error, _, _ in CASES}
    assert headings == {
        "Fout in de instellingen",
        "Fout in het partnerbestand; er is niets van toegepast",
        "Fout in een regelpakket",
        "Fout in de opdracht",
        "Het antwoord is nee",
        "Mislukt",
    }


def test_no_rights_is_remedied_by_another_user_not_by_init():
    error = ConfigError("g.toml", "cannot be read", "write it with: ketenmail init")
    caused(error, PermissionError(13, "Permission denied"))
    remedy = fault.describe(speaker("en"), error).remedy
    assert "runuser -u ketenmail" in remedy
    assert "init" not in remedy
    deeper = caused(ConfigError("g", "p", "r"), caused(OSError(), PermissionError()))
    assert "runuser -u ketenmail" in fault.describe(speaker("en"), deeper).remedy


def test_json_gets_the_fault_as_json_and_a_person_still_reads_it(capsys):
    error = ConfigError("gateway.workers", "p", "r")
    assert fault.tell(speaker(json=True), error) == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "error": {
            "status": 2,
            "place": "/etc/k/gateway.toml: gateway.workers",
            "problem": "p",
            "remedy": "r",
        }
    }
    assert "Oplossing" in said.err


def test_json_is_printed_once_also_when_the_answer_is_no(capsys):
    voice = speaker(json=True)
    voice.give({"records": []})
    fault.tell(voice, Refusal(1, "x", "p", "r"))
    assert json.loads(capsys.readouterr().out) == {"records": []}


SECRET = "jan@gemeente.example"


def broken(*_arguments):
    raise ValueError(SECRET)


@pytest.fixture
def bug(monkeypatch):
    """A verb that has a bug: it raises what nobody foresaw."""
    monkeypatch.setattr(setup.examination, "examine", broken)


def test_what_nobody_foresaw_is_one_line_without_its_message(bug, capsys):
    assert root.run(["--lang", "nl", "doctor"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("Onverwachte fout in Ketenmail (ValueError, gateway/cli/")
    assert "--debug" in line
    assert SECRET not in line


def test_debug_shows_the_traceback(bug, capsys):
    assert root.run(["--debug", "doctor"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert SECRET in err


def test_a_bug_is_json_too(bug, capsys):
    assert root.run(["doctor", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["status"] == 3
    assert error["place"].startswith("ValueError, gateway/cli/")


def test_ctrl_c_says_nothing_and_answers_as_a_shell_expects(monkeypatch, capsys):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(setup.examination, "examine", interrupted)
    assert root.run(["doctor"]) == fault.INTERRUPTED
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.parametrize(
    ("words", "place", "problem"),
    [
        (["que"], "ketenmail que", "dit woord is er niet"),
        (["queue", "foo"], "ketenmail queue foo", "dit woord is er niet"),
        (["--foo"], "ketenmail", "deze optie is er niet: --foo"),
        (["queue", "list", "-x"], "ketenmail queue list", "deze optie is er niet: -x"),
        (["--config"], "ketenmail", "bij deze optie hoort een waarde: --config"),
        (["classify"], "ketenmail classify", "dit ontbreekt: FILES"),
        (
            ["queue", "list", "--limit", "0"],
            "ketenmail queue list",
            "deze waarde kan niet bij --limit",
        ),
        (["--lang", "fr", "doctor"], "--lang fr", "deze taal is er niet"),
    ],
)
def test_a_wrong_command_is_explained_in_dutch(words, place, problem, capsys):
    arguments = words if "--lang" in words else ["--lang", "nl", *words]
    assert root.run(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    values = [line.split(":", 1)[1].strip() for line in lines[1:]]
    assert lines[0] == "Fout in de opdracht"
    assert values[:2] == [place, problem]
    assert values[2]


def test_language_and_json_count_even_when_the_command_is_wrong(capsys):
    assert root.run(["--lang=en", "queue", "list", "--nope", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["problem"] == "there is no such option: --nope"


@pytest.mark.parametrize("group", ["queue", "message", "route", "config", "evidence"])
def test_a_group_without_its_word_shows_the_words(group, capsys):
    assert root.run(["--lang", "en", group]) == 2
    assert "Words:" in capsys.readouterr().out


def test_without_a_choice_the_terminal_decides_and_dutch_is_the_rest(
    monkeypatch, capsys
):
    for lang, word in (("en_GB.UTF-8", "Usage"), ("C", "Gebruik"), ("", "Gebruik")):
        monkeypatch.setenv("LANG", lang)
        root.run(["--help"])
        assert capsys.readouterr().out.startswith(word)


def test_the_version_is_shown_without_settings(capsys):
    assert root.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ketenmail 0.")
