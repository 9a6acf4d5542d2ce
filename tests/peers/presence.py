"""What of the real peers this machine lacks, and what that means for a test.

On a machine of continuous integration a missing peer is a failure, never a skip;
elsewhere the skip says what to install. Run as a program it prints the Debian packages
that are missing: `deploy/peers.sh` installs just those.
"""

import os
import shutil
import subprocess
import sys

PACKAGES = {
    "postfix": "postfix",
    "posttls-finger": "postfix",
    "nsd": "nsd",
    "nsd-control": "nsd",
    "unbound": "unbound",
    "unbound-control": "unbound",
    "swaks": "swaks",
    "openssl": "openssl",
    "testssl": "testssl.sh",
    "dig": "bind9-dnsutils",
    "ldns-signzone": "ldnsutils",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "ps": "procps",
    "unzip": "unzip",
    "systemd-analyze": "systemd",
    "clamd": "clamav-daemon",
}
# swaks does TLS only when Perl has this module, which its package merely recommends.
PERL_MODULES = {"swaks": ("Net::SSLeay", "libnet-ssleay-perl")}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def find(command: str) -> str | None:
    """The path of a peer's command; the folders of system daemons are searched too."""
    return shutil.which(command, path=_PATH)


def missing(commands: tuple[str, ...]) -> tuple[str, ...]:
    """The Debian packages that these commands need and this machine lacks."""
    packages = {PACKAGES[name] for name in commands if find(name) is None}
    for name in commands:
        module, package = PERL_MODULES.get(name, ("", ""))
        if module and not _perl_has(module):
            packages.add(package)
    return tuple(sorted(packages))


def _perl_has(module: str) -> bool:
    perl = find("perl")
    if perl is None:
        return False
    asked = subprocess.run([perl, f"-M{module}", "-e", "1"], capture_output=True)
    return asked.returncode == 0


def need(*commands: str, as_root: bool = True) -> None:
    """Let the test go on only when these peers can run here."""
    import pytest

    remedy = _remedy(commands, as_root)
    if remedy is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"a peer is missing: {remedy}", pytrace=False)
    pytest.skip(f"a peer is missing: {remedy}")


def _remedy(commands: tuple[str, ...], as_root: bool) -> str | None:
    packages = missing(commands)
    if packages:
        return f"apt-get install --no-install-recommends {' '.join(packages)}"
    if as_root and os.geteuid() != 0:
        return f"run as root: {', '.join(commands)} need ports below 1024"
    return None


if __name__ == "__main__":
    sys.stdout.write(" ".join(missing(tuple(PACKAGES))) + "\n")
