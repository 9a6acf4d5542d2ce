"""openssl s_client and s_server as peers that offer just what a test tells them.

The system's own configuration, which forbids old things on Debian, is left out.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator

from tests import certs
from tests.peers import daemon, loopback

PORT = 4433
_UNLIMITED = {"OPENSSL_CONF": os.devnull}
# Every suite that OpenSSL can offer; security level 0 lets it offer old things at all.
EVERYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"


@dataclasses.dataclass(frozen=True)
class Handshake:
    """What a client saw."""

    transcript: str

    @property
    def version(self) -> str:
        """E.g. `TLSv1.3`; empty when no handshake came about."""
        found = re.search(r"(?m)^New, (\S+), Cipher is (\S+)", self.transcript)
        return "" if found is None or found[2] == "(NONE)" else found[1]


def _command(*words: str) -> list[str]:
    return ["env", *(f"{k}={v}" for k, v in _UNLIMITED.items()), "openssl", *words]


def _client(address: str, port: int, starttls: bool, options: tuple[str, ...]):
    upgrade = ("-starttls", "smtp") if starttls else ()
    return _command("s_client", "-connect", f"{address}:{port}", *upgrade, *options)


def shake(address: str, port: int, *options: str, starttls: bool = False) -> Handshake:
    """One handshake with these options of s_client."""
    done = subprocess.run(
        _client(address, port, starttls, options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
    )
    return Handshake(done.stdout.decode("utf-8", "replace"))


def type_into(
    address: str, port: int, *options: str, after: str, lines: tuple[str, ...]
) -> str:
    """A session in which lines are typed once `after` was read; ends with the session.

    Returns:
        All that was printed.
    """
    with subprocess.Popen(
        _client(address, port, False, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    ) as client:
        printed = b""
        while after.encode() not in printed:
            more = os.read(client.stdout.fileno(), 65536)
            assert more, printed
            printed += more
        with contextlib.suppress(BrokenPipeError):
            for line in lines:
                client.stdin.write(f"{line}\n".encode())
                time.sleep(0.2)  # it reads its terminal between two records only
        client.stdin.close()
        printed += client.stdout.read()
    return printed.decode("utf-8", "replace")


@contextlib.contextmanager
def serve(
    place: pathlib.Path, credential: certs.Credential, *options: str
) -> Iterator[str]:
    """An s_server with these options, on port `PORT` of the address that is given."""
    files = credential.write(place, "peer")
    address = loopback.claim()
    argv = _command(
        *("s_server", "-www", "-accept", f"{address}:{PORT}"),
        *("-cert", str(files.certificate), "-key", str(files.key), *options),
    )
    server = daemon.Daemon(argv, place / "s_server.log")
    try:
        server.wait_until(lambda: loopback.wait_until_open(address, PORT, 1))
        yield address
    finally:
        server.stop()


def every_suite_without_aead() -> frozenset[str]:
    """CBC, RC4 and NULL: all that authenticates apart from encrypting."""
    done = subprocess.run(
        _command("ciphers", "-v", EVERYTHING),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line for line in done.stdout.splitlines() if not line.endswith("Mac=AEAD")]
    return frozenset(row.split()[0] for row in rows)
