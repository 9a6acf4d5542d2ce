"""Runs the targets: with atheris, which follows coverage, or else with hypothesis.

    python -m tests.fuzz.grammar --target path --runs 1000000
    python -m tests.fuzz.grammar --runs 100000            # every target in turn
    python -m tests.fuzz.grammar --target path --again FILE   # one input again

atheris has wheels for Linux on x86-64 only; everywhere else hypothesis makes the inputs
from the same words. An input that finds something is written to a file in `--findings`
(atheris) or printed (hypothesis).
"""

import argparse
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

_MOST_OCTETS = 4096
ENGINES = ("atheris", "hypothesis")


def engine():
    """Which of the two is here."""
    return ENGINES[0] if importlib.util.find_spec("atheris") else ENGINES[1]


def with_atheris(name, runs, seed, findings):
    import atheris

    with atheris.instrument_imports(include=["gateway"]):
        from tests.fuzz import targets
    target, words = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        (folder / "words").write_text("".join(_quoted(word) for word in words))
        corpus = folder / "corpus"
        corpus.mkdir()
        for at, word in enumerate([*words, b"".join(words)]):
            (corpus / str(at)).write_bytes(word)
        findings.mkdir(parents=True, exist_ok=True)
        atheris.Setup(
            [
                sys.argv[0],
                f"-runs={runs}",
                f"-seed={seed}",
                f"-max_len={_MOST_OCTETS}",
                f"-dict={folder / 'words'}",
                f"-artifact_prefix={findings}/{name}-",
                "-print_final_stats=1",
                "-verbosity=1",
                str(corpus),
            ],
            target,
        )
        atheris.Fuzz()  # ends the process


def _quoted(word):
    """A line of libFuzzer's dictionary."""
    return '"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n'


def inputs(words):
    """What hypothesis makes of the words of a target."""
    from hypothesis import strategies as st

    pieces = st.one_of(
        st.sampled_from(words), st.binary(max_size=4), st.sampled_from(words)
    )
    return st.lists(pieces, max_size=20).map(b"".join)


def with_hypothesis(name, runs, seed):
    import hypothesis

    from tests.fuzz import targets

    target, words = targets.TARGETS[name]
    options = hypothesis.settings(
        max_examples=runs,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(options(hypothesis.given(inputs(words))(target)))()


def again(name, file):
    """One input, as atheris wrote it down."""
    from tests.fuzz import targets

    targets.TARGETS[name][0](pathlib.Path(file).read_bytes())


def names():
    from tests.fuzz import targets

    return sorted(targets.TARGETS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=ENGINES, default=engine())
    parser.add_argument(
        "--findings", type=pathlib.Path, default=pathlib.Path("fuzz-findings")
    )
    parser.add_argument("--again")
    options = parser.parse_args()
    if options.again is not None:
        again(options.target, options.again)
    elif options.target is None:
        rest = sys.argv[1:]
        codes = [
            subprocess.run(
                [sys.executable, "-m", "tests.fuzz.grammar", "--target", name, *rest]
            ).returncode
            for name in names()
        ]
        return 1 if any(codes) else 0
    elif options.engine == "atheris":
        with_atheris(options.target, options.runs, options.seed, options.findings)
    else:
        with_hypothesis(options.target, options.runs, options.seed)
        sys.stdout.write(f"{options.target}: {options.runs} inputs, no finding\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
