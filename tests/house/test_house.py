"""The house rules as tests: what the tree must hold, whatever is added to it."""

import ast
import pathlib
import re
import subprocess
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
GATEWAY = ROOT / "gateway"
MOST_LINES = 500
FORBIDDEN_VERBS = ("get_", "handle_", "process_", "manage_", "do_")
FORBIDDEN_MODULES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
# aiosmtpd calls its handler by these names (style.md section 6).
HOOKS = {"intake"}


def listed() -> list[pathlib.Path]:
    """What git tracks, and what is new and not ignored: what a commit would hold."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = answer.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def texts() -> list[tuple[pathlib.Path, str]]:
    """Every listed file that is text, with its content."""
    found = []
    for path in listed():
        octets = path.read_bytes()
        if b"\0" not in octets:
            found.append((path, octets.decode("utf-8", "replace")))
    return found


MODULES = sorted(GATEWAY.rglob("*.py"))


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_a_house_to_look_at():
    assert len(MODULES) > 20
    assert len(listed()) > 50


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_a_docstring_and_a_bearable_length(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "says nothing of what it promises"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_name_says_what_is_done(path):
    room = path.relative_to(GATEWAY).parts[0]
    bad = [
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.lstrip("_").startswith(FORBIDDEN_VERBS)
        and not (room in HOOKS and node.name.lstrip("_").startswith("handle_"))
        and not (node.name == "handle_DATA" and "aiosmtpd" in path.read_text("utf-8"))
    ]
    assert bad == []
    assert path.stem not in FORBIDDEN_MODULES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_are_absolute(path):
    relative = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


# --- texts ----------------------------------------------------------------------
def keys(table: dict, prefix: str = "") -> dict[str, set[str]]:
    """Every sentence by its dotted key, with the placeholders in it."""
    found: dict[str, set[str]] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= keys(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            found[f"{prefix}{key}"] = set(
                re.findall(r"{(\w+)", " ".join(map(str, value)))
            )
        else:
            found[f"{prefix}{key}"] = set(re.findall(r"{(\w+)", str(value)))
    return found


PAIRS = sorted(
    (dutch, dutch.with_name(re.sub(r"(^|_)nl\.toml$", r"\1en.toml", dutch.name)))
    for dutch in (GATEWAY / "texts").glob("*nl.toml")
)


def test_there_are_sentences():
    assert PAIRS


@pytest.mark.parametrize(("dutch", "english"), PAIRS, ids=lambda p: p.name)
def test_every_sentence_is_in_both_languages_with_the_same_placeholders(dutch, english):
    in_dutch = keys(tomllib.loads(dutch.read_text("utf-8")))
    in_english = keys(tomllib.loads(english.read_text("utf-8")))
    assert in_dutch == in_english


def test_no_english_file_is_without_its_dutch_one():
    english = {path.name for path in (GATEWAY / "texts").glob("*en.toml")}
    assert english == {pair[1].name for pair in PAIRS}


# --- what may not be in the tree --------------------------------------------------
# Written in pieces, so that this file does not hold what it forbids.
FORBIDDEN_TEXTS = {
    "a path of one machine": r"(?<![\w.])/(?:wor" r"k|far" r"m|roo" r"t)/",
    "a host of a package registry": (
        r"files\.pythonhos"
        r"ted|pypi\.o"
        r"rg|registry\.npm"
        r"js|deb\.deb"
        r"ian\.org"
    ),
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE K"
    r"EY-----\s*\n[A-Za-z0-9+/]{16}",
}


@pytest.mark.parametrize("what", FORBIDDEN_TEXTS)
def test_the_tree_is_free_of(what):
    pattern = re.compile(FORBIDDEN_TEXTS[what])
    bad = [
        f"{name_of(path)}:{text[: match.start()].count(chr(10)) + 1}"
        for path, text in texts()
        if (match := pattern.search(text))
    ]
    assert bad == []


def test_no_key_or_certificate_file_is_kept():
    endings = {".key", ".pem", ".p12", ".pfx", ".jks"}
    assert [name_of(path) for path in listed() if path.suffix in endings] == []


LOCKS = [ROOT / "requirements.lock", ROOT / "deploy" / "requirements.lock"]


def locked(path: pathlib.Path) -> dict[str, str]:
    """Requirement line by package name; hashes belong to it."""
    joined = path.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and line[0] != "#"]
    return {re.split(r"[=\[ ]", line, maxsplit=1)[0]: line for line in lines}


@pytest.mark.parametrize("path", LOCKS, ids=name_of)
def test_every_dependency_is_pinned_with_hashes_and_without_addresses(path):
    packages = locked(path)
    assert len(packages) > 20
    for line in packages.values():
        assert re.match(r"[\w.-]+==[\w.+!]+ ", line), line[:60]
        assert "--hash=sha256:" in line, line[:60]
    assert not re.search(r"https?:|file:|--index|--find-links", path.read_text("utf-8"))


def test_what_runs_is_what_was_tested():
    everything, runs = map(locked, LOCKS)
    assert runs.items() <= everything.items()
    assert not {"pytest", "mypy", "ruff"} & runs.keys()


def test_every_declared_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    everything, runs = map(locked, LOCKS)
    names = [re.match(r"[\w-]+", each).group() for each in project["dependencies"]]
    assert set(names) <= runs.keys()
    tools = project["optional-dependencies"]["dev"]
    assert {re.match(r"[\w-]+", each).group() for each in tools} <= everything.keys()


# --- documents --------------------------------------------------------------------
def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text("utf-8")
    decisions = sorted(path for path in folder.glob("[0-9]*.md"))
    missing = [
        f"| [{path.name[:4]}]({path.name}) | {title(path)} |"
        for path in decisions
        if f"({path.name})" not in index
    ]
    assert missing == [], "add these lines to docs/adr/README.md"
    assert set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", index)) == {
        path.name for path in decisions
    }


def title(path: pathlib.Path) -> str:
    return path.read_text("utf-8").splitlines()[0].lstrip("# ").split(" ", 1)[1]


DOCUMENTS = [path for path in listed() if path.suffix == ".md"]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z]+):", makefile, re.M))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_make_target_that_a_document_names_exists(path):
    text = path.read_text("utf-8")
    named = set(re.findall(r"`make ([a-z]+)[`. ]|^\s*make ([a-z]+)\b", text, re.M))
    assert {one or other for one, other in named} <= targets()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_file_that_a_document_links_to_exists(path):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text("utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


def test_every_test_that_the_architecture_names_exists():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/[\w/.]*)`", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def verbs() -> set[str]:
    """Every verb of the command line, with its sub-verb."""
    import typer

    from gateway.cli import root

    def walk(command, prefix=""):
        for name, sub in getattr(command, "commands", {}).items():
            yield f"{prefix}{name}"
            yield from walk(sub, f"{prefix}{name} ")

    return set(walk(typer.main.get_command(root.app)))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_verb_that_a_document_names_exists(path):
    text = re.sub(r"--config \S+ ", "", path.read_text("utf-8"))
    named = re.findall(r"(?:^|[`/ ])ketenmail ((?:[a-z]+ ?){1,2})", text, re.M)
    known = verbs()
    shown = [words.split() for words in named if words.split()[0] in first_words()]
    unknown = [
        words
        for words in shown
        if not {" ".join(words[:1]), " ".join(words[:2])} & known
    ]
    assert unknown == []


def first_words() -> set[str]:
    """Verbs and what could be mistaken for one; other words are plain sentences."""
    design = "serve init config doctor classify policy message hold queue route"
    more = "partners agreements keys duties evidence survey users demo db backup"
    return {*design.split(), *more.split()}


def test_the_licence_is_the_one_that_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert project["license"] == "EUPL-1.2"
    assert text.startswith("EUROPEAN UNION PUBLIC LICENCE v. 1.2\n")
    assert "require the production of a new EUPL version." in text
    code = (ROOT / "publiccode.yml").read_text("utf-8")
    assert "license: EUPL-1.2" in code
    assert f'softwareVersion: "{project["version"]}"' in code


def test_versions_agree():
    from gateway import VERSION

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION


# --- tests about tests --------------------------------------------------------------
def test_no_two_test_files_share_a_name():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_no_test_mocks_or_is_skipped_for_good(path):
    if path == pathlib.Path(__file__):
        return
    text = path.read_text("utf-8")
    assert not re.search(r"unittest\.mock|MagicMock", text)
    assert not re.search(r"mark\.(skip|skipif|xfail)\b", text)


def test_ci_runs_what_the_readme_promises():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "set -euo pipefail" in script
    assert {"make lint", "make test"} <= set(script.splitlines())
