"""Debian packages that are unpacked beside the system instead of installed.

Exim and Postfix cannot be installed together: each is the mail-transport-agent of a
Debian machine. A package here is fetched with the libraries that the machine lacks,
verified by apt as ever, and only its files are laid out under `.venv/peers`: no script
of it runs, no setuid bit stays, and the system does not change. Later runs find it
there; `make clean` removes it. Run as a program it fetches what the tests will want.
"""

import dataclasses
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from tests.peers import presence

PACKAGES = ("exim4-daemon-light", "msmtp", "haproxy")
_PLACE = pathlib.Path(__file__).parents[2] / ".venv" / "peers"
_PATIENCE_S = 300
_AS_ROOT = ("-o", "APT::Sandbox::User=root")  # the folder is not for user _apt
_INSTALLS = re.compile(r"^Inst (\S+) ", re.M)
_SETUID = 0o6000


class NotFetched(Exception):
    """apt could not fetch or unpack it; the text holds what it said."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """Where the files of a package, and of the libraries it needs, are."""

    root: pathlib.Path

    def find(self, command: str) -> str:
        """The path of one of its programs, or of the system's own."""
        folders = (self.root / "usr/sbin", self.root / "usr/bin")
        path = os.pathsep.join(map(str, folders))
        found = shutil.which(command, path=path) or presence.find(command)
        if found is None:
            raise NotFetched(f"{self.root} and the system have no {command}")
        return found

    def copied(self, to: pathlib.Path) -> "Tree":
        """The same files elsewhere: a checkout may lie where only root can look."""
        shutil.copytree(self.root, to, symlinks=True)
        return Tree(to)

    @property
    def library_path(self) -> str:
        """What LD_LIBRARY_PATH must be for its programs."""
        libraries = self.root.glob("**/*.so.*")
        return os.pathsep.join(sorted({str(file.parent) for file in libraries}))

    def command(self, program: str, *arguments: str) -> list[str]:
        """A command that runs one of its programs with its libraries."""
        libraries = f"LD_LIBRARY_PATH={self.library_path}"
        return ["/usr/bin/env", libraries, self.find(program), *arguments]


def need(package: str) -> Tree:
    """Let the test go on with this package; as `presence.need` where it cannot be had.

    Args:
        package: A name of the Debian release that this machine runs.
    """
    import pytest

    try:
        return _tree(package)
    except (NotFetched, OSError) as error:
        why = f"a peer is missing: apt-get update; apt-get download {package}: {error}"
        outcome = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        raise outcome.Exception(why, pytrace=False) from error


def _tree(package: str) -> Tree:
    """The package's files; fetched by one test worker, the others wait for it."""
    _PLACE.mkdir(parents=True, exist_ok=True)
    place = _PLACE / package
    with (_PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            with tempfile.TemporaryDirectory(dir=_PLACE) as folder:
                made = _unpack(_fetch(package, pathlib.Path(folder)))
                made.rename(place)
    return Tree(place)


def _fetch(package: str, folder: pathlib.Path) -> pathlib.Path:
    """Download the package and what it needs; the lists may be absent or too old."""
    try:
        _download(package, folder)
    except NotFetched:
        _run("apt-get", "update", cwd=folder)
        _download(package, folder)
    return folder


def _download(package: str, folder: pathlib.Path) -> None:
    # Simulated, so that what the release calls its libraries need not be listed here,
    # and what would have to go (Postfix) stays.
    plan = _run(
        *("apt-get", "install", "--simulate", "--no-install-recommends", package),
        cwd=folder,
    )
    wanted = _INSTALLS.findall(plan)
    if wanted:
        _run("apt-get", *_AS_ROOT, "download", *wanted, cwd=folder)


def _unpack(folder: pathlib.Path) -> pathlib.Path:
    root = folder / "root"
    root.mkdir(mode=0o755)
    for archive in sorted(folder.glob("*.deb")):
        _run("dpkg-deb", "--extract", str(archive), str(root), cwd=folder)
    for file in root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(file.stat().st_mode & ~_SETUID)
    return root


def _run(*command: str, cwd: pathlib.Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise NotFetched(f"{command[0]} took over {_PATIENCE_S} s") from error
    if done.returncode != 0:
        raise NotFetched(f"{' '.join(command)}: {done.stderr[-1000:]}")
    return done.stdout


if __name__ == "__main__":
    for each in PACKAGES:
        _tree(each)
