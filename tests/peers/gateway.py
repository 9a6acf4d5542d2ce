"""The gateway itself, run as an administrator would: settings, init, partners, serve."""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests import certs
from tests.peers import daemon, loopback, unbound

ROOT = pathlib.Path(__file__).parents[2]
PORT = 2525
IMPLICIT_PORT = 4650
MUNICIPALITY = "gemeente"
DOMAIN = "gemeente.test"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a verb of the command line gave."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


@dataclasses.dataclass
class Gateway:
    """A gateway that can be started, killed and asked."""

    place: pathlib.Path
    address: str
    config: pathlib.Path
    process: daemon.Daemon | None = None
    starts: int = 0

    @property
    def log(self) -> str:
        logs = sorted(self.place.glob("serve-*.log"))
        return "".join(log.read_text("utf-8", "replace") for log in logs)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "gateway", "--config", str(self.config), *words]

    def ask(self, *words: str) -> Answer:
        """Run one verb."""
        done = subprocess.run(
            self.command(*words),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def apply(self, partners: str) -> None:
        file = self.place / "partners.toml"
        file.write_text(partners, "utf-8")
        answer = self.ask("partners", "apply", str(file))
        assert answer.status == 0, answer

    def trace(self, reference: str) -> dict:
        return self.ask("message", "trace", reference, "--json").json

    def start(self, within_s: float = 60) -> None:
        self.starts += 1
        log = self.place / f"serve-{self.starts:04}.log"
        self.process = daemon.Daemon(self.command("serve"), log)
        loopback.wait_until_open(self.address, PORT, within_s)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None


SETTINGS = """
[gateway]
hostname = "gw.gemeente.test"
state_dir = "{place}/state"
workers = 2
[keys]
directory = "{place}/keys"
master_key_file = "{place}/master.key"
[dns]
{dns}
[net]
[[net.allow_ranges]]
range = "127.0.0.0/8"
ports = [25, 2500]
[queue]
retry_s = {retry_s}
warn_after_s = {warn_after_s}
expire_after_s = {expire_after_s}
[[listener]]
address = "{address}"
port = 2525
tls = "starttls"
certificate = "{cert}"
key = "{key}"
[[listener]]
address = "{address}"
port = 4650
tls = "implicit"
certificate = "{cert}"
key = "{key}"
[[municipality]]
id = "gemeente"
name = "Gemeente Test"
sender_domains = ["gemeente.test"]
notices_from = "gateway@gemeente.test"
notices_to = "postmaster@gemeente.test"
{municipality}
[municipality.route]
method = "fixed"
host = "{own_server}"
port = 25
pins = ["{own_pin}"]
[[client]]
id = "postfix"
municipality = "gemeente"
networks = ["127.0.0.0/8"]
"""


@contextlib.contextmanager
def run(
    ca: certs.Credential,
    own_server: str,
    own_pin: str,
    *,
    resolver: unbound.Unbound | None = None,
    names: tuple[str, str] = ("", ""),
    retry_s: Sequence[int] = (1,),
    warn_after_s: int = 600,
    expire_after_s: int = 3600,
    municipality: str = "",
    serve: bool = True,
) -> Iterator[Gateway]:
    """A gateway of one municipality on a loopback address of its own.

    Args:
        ca: Issues the listener's certificate.
        own_server: Address of the municipality's own server, for notices.
        own_pin: Its pin.
        resolver: The validating resolver; None: DNS is not tested, and never secure.
        names: A secure and a bogus name for the self-test.
        retry_s: See config.Clock.
        warn_after_s: See config.Clock.
        expire_after_s: See config.Clock.
        municipality: More settings of the municipality.
        serve: Start it at once.
    """
    with daemon.folder("gateway") as place:
        files = certs.issue(ca, ["gw.gemeente.test"]).write(place, "listener")
        dns = "self_test = false"
        if resolver is not None:
            dns = (
                f'resolver = "{resolver.address}"\nport = {resolver.port}\n'
                f'secure_name = "{names[0]}"\nbogus_name = "{names[1]}"\ntimeout_s = 2'
            )
        address = loopback.claim()
        config = place / "gateway.toml"
        config.write_text(
            SETTINGS.format(
                place=place,
                dns=dns,
                address=address,
                cert=files.certificate,
                key=files.key,
                own_server=own_server,
                own_pin=own_pin,
                retry_s=list(retry_s),
                warn_after_s=warn_after_s,
                expire_after_s=expire_after_s,
                municipality=municipality,
            ),
            "utf-8",
        )
        gateway = Gateway(place, address, config)
        made = gateway.ask("init")
        assert made.status == 0, made
        try:
            if serve:
                gateway.start()
            yield gateway
        finally:
            gateway.stop()
