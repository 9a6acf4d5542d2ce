"""`ketenmail demo`, as somebody meets it who tries Ketenmail for the first time."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest

from tests.peers import daemon, presence

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("demo")]

ROOT = pathlib.Path(__file__).parents[2]
AS_SAID = [
    ("info@ggz.sandbox.example", 250, "delivered", ""),
    ("crisisdienst@ggz.sandbox.example", 250, "delivered", ""),
    ("crisisdienst@gzz.sandbox.example", 550, "refused", "K301"),
    ("directeur@pi.sandbox.example", 550, "refused", "K304"),
    ("opname@kliniek.sandbox.example", 250, "failed", "K403"),
    ("toezicht@reclassering.sandbox.example", 250, "delivered", ""),
    ("directeur@pi.sandbox.example", 250, "failed", "K405"),
]
# No swaks, no root, nothing of the system's but Python: a PATH with an empty folder.
ALONE = {"LANG": "C.UTF-8"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *words]


def processes_of(folder: pathlib.Path) -> list[str]:
    """Command lines of processes that have to do with a sandbox."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if str(folder) in line:
                found.append(line)
    return found


class Demo:
    """A running demo whose output is read as it comes."""

    def __init__(self, folder: pathlib.Path, language: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command("--lang", language, "demo", "--folder", str(folder)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, within_s: float = 90) -> str:
        def seen() -> bool:
            return bool(re.search(pattern, self.text, re.M))

        over = daemon.until(lambda: seen() or self.process.poll() is not None, within_s)
        assert over, self.text
        assert seen(), self.text
        return re.search(pattern, self.text, re.M)[0]

    def end(self, sign: signal.Signals) -> int:
        """Signal it as a terminal does, to all of its group; answers its status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, sign)
        status = self.process.wait(60)
        self._reader.join(10)
        self.process.stdout.close()
        return status


@contextlib.contextmanager
def demo(folder: pathlib.Path, language: str):
    running = Demo(folder, language)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)
        assert daemon.until(lambda: processes_of(folder) == [], 60)


def test_one_can_send_a_message_with_the_line_it_prints_and_ctrl_c_ends_all(tmp_path):
    presence.need("swaks", as_root=False)
    folder = tmp_path / "een map"  # what it prints must be quoted
    with demo(folder, "nl") as running:
        line = running.wait_for(r"^   swaks --server .*$")
        running.wait_for(r"^De gateway blijft draaien tot Ctrl-C\.$")
        sent = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=60
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
        reply = re.search(r"250 2\.0\.0 Accepted, reference (\w{26})", sent.stdout)
        assert reply, sent.stdout
        words = next(x for x in running.lines if x.endswith("message trace REFERENTIE"))
        _, _, verb = words.partition(" --config ")
        trace = shlex.split(verb.replace("REFERENTIE", reply[1]))

        def delivered() -> bool:
            asked = subprocess.run(
                command("--config", *trace, "--json"), capture_output=True, cwd=ROOT
            )
            records = json.loads(asked.stdout)["records"]
            return "delivered" in [record["event"] for record in records]

        assert daemon.until(delivered, 30)
        assert processes_of(folder)
        assert running.end(signal.SIGINT) == 0
        assert daemon.until(lambda: processes_of(folder) == [], 10)
        assert f"Gestopt; de zandbak staat nog in {folder}." in running.lines
    assert "Traceback" not in running.text
    assert "Alles ging zoals aangekondigd." in running.lines
    assert "klopt: echt, volledig en ondertekend" in running.text
    for english in ("outcome", "Sandbox with", "delivered to", "Look further"):
        assert english not in running.text


def test_all_outcomes_are_as_announced_without_path_and_leave_nothing(tmp_path):
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        command("--lang", "en", "demo", "--once", "--json"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=ALONE | {"PATH": str(tmp_path / "bin"), "TMPDIR": str(tmp_path)},
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    got = [
        (s["recipient"], s["reply"], s["outcome"], s["code"]) for s in answer["samples"]
    ]
    assert got == AS_SAID
    assert all(sample["as_said"] for sample in answer["samples"])
    assert answer["as_said"] is True
    assert answer["evidence_verified"] is True
    notices = answer["notices"]
    assert sum("Not delivered: your message" in subject for subject in notices) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_in_the_middle_too(tmp_path, sign):
    with demo(tmp_path / "x", "en") as running:
        running.wait_for(r"^   outcome:")
        assert running.end(sign) == 0
        assert daemon.until(lambda: processes_of(tmp_path) == [], 10)
    assert "Stopped; the sandbox is still in" in running.lines[-1]
    assert "Traceback" not in running.text
