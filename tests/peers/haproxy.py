"""Real HAProxy: the load balancer before the intake, with PROXY version 2.

It passes TCP on, or ends TLS itself; it asks by itself, all the time, whether the
servers behind it are there.
"""

import contextlib
import csv
import dataclasses
import io
import pathlib
import socket
from collections.abc import Iterator, Sequence

from tests.peers import daemon, loopback, unpacked

_SETTINGS = """
global
  maxconn 200
  stats socket {place}/stats.sock mode 600 level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 5s
  option smtpchk EHLO balancer.test
"""
_FRONT = """
listen {name}
  bind {address}:{port} {bind}
  source {address}
  server intake 127.0.0.1:{target} {server} check check-send-proxy inter 200ms
"""


@dataclasses.dataclass(frozen=True)
class Front:
    """One port of the balancer, and the port of ours behind it."""

    name: str
    target: int
    bind: str = ""  # e.g. "ssl crt /x.pem"
    server: str = "send-proxy-v2"


@dataclasses.dataclass(frozen=True)
class Haproxy:
    """A running balancer."""

    address: str
    place: pathlib.Path
    ports: dict[str, int]

    def health(self, name: str) -> str:
        """What its last check of the server behind one front gave, e.g. `L7OK`."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(self.place / "stats.sock"))
            asking.sendall(b"show stat\n")
            text = asking.makefile(encoding="utf-8").read()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        found = [
            row for row in rows if (row["pxname"], row["svname"]) == (name, "intake")
        ]
        return f"{found[0]['status']} {found[0]['check_status']}"


@contextlib.contextmanager
def run(fronts: Sequence[Front], address: str) -> Iterator[Haproxy]:
    """HAProxy on a loopback address, from which it also connects.

    Args:
        fronts: Its ports.
        address: E.g. from `loopback.claim`.
    """
    tree = unpacked.need("haproxy")
    with daemon.folder("haproxy") as place:
        ports = {front.name: loopback.free_port(address) for front in fronts}
        text = _SETTINGS.format(place=place) + "".join(
            _FRONT.format(
                name=front.name,
                address=address,
                port=ports[front.name],
                bind=front.bind,
                target=front.target,
                server=front.server,
            )
            for front in fronts
        )
        (place / "haproxy.cfg").write_text(text, "utf-8")
        command = tree.command("haproxy", "-db", "-f", str(place / "haproxy.cfg"))
        running = daemon.Daemon(command, place / "log")
        try:
            running.wait_until((place / "stats.sock").exists)
            yield Haproxy(address, place, ports)
        finally:
            running.stop()
