"""A real Unbound that validates against the apex of an NSD of the tests."""

import contextlib
import pathlib
import signal
import subprocess
from collections.abc import Iterator

import dns.exception
import dns.message
import dns.query

from tests.peers import daemon, loopback, nsd, presence

PORT = 53


class Unbound:
    """A running validating resolver."""

    def __init__(
        self, place: pathlib.Path, zones: nsd.Zones, cache_max_ttl_s: int
    ) -> None:
        self.address = loopback.claim()
        self.port = PORT
        self._place = place
        self._zones = zones
        self._cache_max_ttl_s = cache_max_ttl_s
        self._daemon: daemon.Daemon | None = None

    def start(self) -> None:
        anchor = self._place / "anchor"
        anchor.write_text(self._zones.trust_anchor(), "ascii")
        settings = self._place / "unbound.conf"
        settings.write_text(self._settings(), "ascii")
        command = [presence.find("unbound"), "-d", "-c", str(settings)]
        self._daemon = daemon.Daemon(command, self._place / "unbound.log")
        self._daemon.wait_until(self._answers)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def flush(self) -> None:
        """Forget every answer, so that what NSD serves now is seen."""
        self._control("flush_zone", ".")
        self._control("flush_infra", "all")

    def pause(self) -> None:
        """Answer nothing any more: every question ends in a time-out."""
        self._daemon.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._daemon.signal(signal.SIGCONT)

    def _control(self, *words: str) -> None:
        settings = str(self._place / "unbound.conf")
        command = [presence.find("unbound-control"), "-c", settings, *words]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def _answers(self) -> bool:
        query = dns.message.make_query(f"{self._zones.secure_name}.", "A")
        try:
            reply = dns.query.udp(query, self.address, timeout=0.2, port=PORT)
        except dns.exception.Timeout:
            return False
        return bool(reply.answer)

    def _settings(self) -> str:
        place = self._place
        apex = self._zones.apex.name
        return f"""server:
  interface: {self.address}@{PORT}
  port: {PORT}
  username: ""
  chroot: ""
  directory: "{place}"
  pidfile: "{place}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  num-threads: 1
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  local-zone: "{apex}." nodefault
  module-config: "validator iterator"
  trust-anchor-file: "{place}/anchor"
  trust-anchor-signaling: no
  val-log-level: 2
  val-bogus-ttl: 1
  ede: yes
  minimal-responses: no
  cache-max-ttl: {self._cache_max_ttl_s}
  cache-max-negative-ttl: {self._cache_max_ttl_s}
stub-zone:
  name: "{apex}."
  stub-addr: {self._zones.address}@{nsd.PORT}
remote-control:
  control-enable: yes
  control-interface: "{place}/unbound.ctl"
  control-use-cert: no
"""


@contextlib.contextmanager
def resolve(zones: nsd.Zones, cache_max_ttl_s: int = 60) -> Iterator[Unbound]:
    """Run a validating Unbound that asks the NSD of `zones`."""
    presence.need("unbound", "unbound-control")
    with daemon.folder("unbound") as place:
        unbound = Unbound(place, zones, cache_max_ttl_s)
        try:
            unbound.start()
            yield unbound
        finally:
            unbound.stop()
