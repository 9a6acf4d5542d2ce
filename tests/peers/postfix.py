"""Real Postfix: the partner's mail server, and the municipality's own.

Each runs from configuration, queue and data folders of its own, listens on a loopback
address of its own, and delivers with virtual(8) into a Maildir that tests can read.
"""

import contextlib
import dataclasses
import os
import pathlib
import pwd
import re
import shutil
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tests import certs
from tests.peers import daemon, loopback, presence

_QUEUES = ("incoming", "active", "bounce", "defer", "deferred", "flush", "hold")
_QUEUES_TOO = ("corrupt", "saved", "trace", "private")
# What virtual(8) writes above the content; smtpd's own Received comes next.
_ENVELOPE_FIELDS = (b"Return-Path:", b"X-Original-To:", b"Delivered-To:")
_LINE = re.compile(
    r"postfix/smtpd\[(?P<pid>\d+)\]: (?P<what>connect from|disconnect from|[<>]) "
    r"[^\[]+\[[^\]]*\](?::\d+)?(?:: (?P<text>.*)|(?: \w+=\S+)*)$"
)
_MASTER = """
{listen} inet n - n - 200 smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclasses.dataclass(frozen=True)
class Delivery:
    """One message in a Maildir: for one recipient."""

    reverse_path: str  # "" for the null reverse-path
    recipient: str
    octets: bytes = dataclasses.field(repr=False)  # as received by smtpd, CRLF
    trace: bytes = dataclasses.field(repr=False)  # the Received field of this Postfix

    @property
    def content(self) -> bytes:
        """The octets without any Received field at the top: what the author sent."""
        octets = self.octets
        while octets.lower().startswith(b"received:"):
            octets = _after_first_field(octets)
        return octets


@dataclasses.dataclass(frozen=True)
class Session:
    """One SMTP session as Postfix saw it, before and after STARTTLS."""

    commands: tuple[str, ...]  # as received; content is not in it
    replies: tuple[str, ...]

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(command.split(" ", 1)[0].upper() for command in self.commands)

    @property
    def envelope_seen(self) -> bool:
        """Whether any part of an envelope came."""
        return not {"MAIL", "RCPT", "DATA", "BDAT"}.isdisjoint(self.verbs)


class Postfix:
    """A running Postfix for some domains; see `sink` and `sender`."""

    def __init__(
        self,
        place: pathlib.Path,
        domains: Sequence[str],
        parameters: Mapping[str, str],
        address: str | None = None,
        port: int = 25,
    ) -> None:
        self.address = loopback.claim() if address is None else address
        self.port = port
        self.domains = tuple(domains)
        self.place = place
        self._parameters = dict(parameters)
        self._daemon: daemon.Daemon | None = None

    @property
    def pid(self) -> int:
        return self._daemon.pid

    @property
    def config_directory(self) -> pathlib.Path:
        return self.place / "etc"

    @property
    def _maildir(self) -> pathlib.Path:
        return self.place / "mail" / "inbox"

    # --- running ----------------------------------------------------------
    def start(self) -> None:
        self._lay_out()
        program = pathlib.Path(_postconf("daemon_directory")) / "master"
        command = [str(program), "-c", str(self.config_directory), "-d"]
        self._daemon = daemon.Daemon(command, self.place / "master.log")
        # No connection is made to see that it listens: it would be in the transcript.
        self._daemon.wait_until(self._started)

    def _started(self) -> bool:
        return any("daemon started --" in line for line in self.log_lines())

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    def _lay_out(self) -> None:
        owner = pwd.getpwnam("postfix")
        nobody = pwd.getpwnam("nobody")
        queue, data, mail = (self.place / name for name in ("queue", "data", "mail"))
        for path in (self.config_directory, queue, data, mail, queue / "pid"):
            path.mkdir(mode=0o755)
        for name in (*_QUEUES, *_QUEUES_TOO):
            (queue / name).mkdir(mode=0o700)
            os.chown(queue / name, owner.pw_uid, 0)
        for name, mode in (("maildrop", 0o1730), ("public", 0o2710)):
            (queue / name).mkdir()
            shutil.chown(queue / name, "postfix", "postdrop")
            (queue / name).chmod(mode)
        os.chown(data, owner.pw_uid, 0)
        os.chown(mail, nobody.pw_uid, nobody.pw_gid)
        settings = {**self._basics(nobody.pw_uid, nobody.pw_gid), **self._parameters}
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        (self.config_directory / "main.cf").write_text("".join(lines), "utf-8")
        listen = f"{self.address}:{self.port}"
        master = _MASTER.format(listen=listen)
        (self.config_directory / "master.cf").write_text(master, "ascii")
        # Postfix reads a file again and again while it may still be being written:
        # until its time is more than a second old.
        for name in ("main.cf", "master.cf"):
            os.utime(self.config_directory / name, (0, 0))

    def _basics(self, uid: int, gid: int) -> dict[str, str]:
        return {
            "compatibility_level": "3.6",
            "queue_directory": f"{self.place}/queue",
            "data_directory": f"{self.place}/data",
            "maillog_file": f"{self.place}/maillog",
            "maillog_file_prefixes": str(self.place),
            "alternate_config_directories": "",
            # Postfix wants an address that an interface bears; master.cf says where
            # it listens, and it sends from there, too: clients are known by network.
            "inet_interfaces": "127.0.0.1",
            "smtp_bind_address": self.address,
            "inet_protocols": "ipv4",
            "myhostname": f"mail.{self.domains[0]}",
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "mynetworks": "127.0.0.0/8",
            "relay_domains": "",
            "virtual_mailbox_domains": " ".join(self.domains),
            "virtual_mailbox_base": f"{self.place}/mail",
            "virtual_mailbox_maps": "static:inbox/",
            "virtual_mailbox_limit": "0",
            "virtual_uid_maps": f"static:{uid}",
            "virtual_gid_maps": f"static:{gid}",
            "message_size_limit": str(150 * 1024 * 1024),
            "queue_minfree": "0",
            # Content stays as it came: no header is added, rewritten or dropped.
            "local_header_rewrite_clients": "",
            "message_drop_headers": "",
            "smtpd_peername_lookup": "no",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "biff": "no",
        }

    # --- reading ----------------------------------------------------------
    def deliveries(self) -> tuple[Delivery, ...]:
        """What is in the Maildir now, oldest first."""
        new = self._maildir / "new"
        files = list(new.iterdir()) if new.is_dir() else []
        files.sort(key=lambda file: (file.stat().st_mtime_ns, file.name))
        return tuple(_delivery(file.read_bytes()) for file in files)

    def wait_for_deliveries(
        self, count: int = 1, within_s: float = 30
    ) -> tuple[Delivery, ...]:
        """Return as soon as at least `count` messages are in the Maildir."""
        self._wait(lambda: len(self.deliveries()) >= count, within_s)
        return self.deliveries()

    def wait_for_log(self, pattern: str, within_s: float = 30) -> str:
        """Return the first log line that matches, as soon as there is one."""
        found = re.compile(pattern)
        lines: list[str] = []

        def seen() -> bool:
            lines[:] = [line for line in self.log_lines() if found.search(line)]
            return bool(lines)

        self._wait(seen, within_s)
        return lines[0]

    def log_lines(self) -> tuple[str, ...]:
        """Postfix's own log so far."""
        file = self.place / "maillog"
        if not file.exists():
            return ()
        return tuple(file.read_text("utf-8", "replace").splitlines())

    def transcript(self) -> tuple[Session, ...]:
        """Every SMTP session that clients held with it so far, in order of connection.

        Needs `transcript=True` at the start. `wait_until_idle` makes it complete.
        """
        return tuple(
            Session(tuple(commands), tuple(replies))
            for commands, replies, _ in _sessions(self.log_lines())
        )

    def wait_until_idle(self, sessions: int = 1, within_s: float = 30) -> None:
        """Return when at least so many sessions were held, and none is open."""

        def idle() -> bool:
            ended = [over for _, _, over in _sessions(self.log_lines())]
            return len(ended) >= sessions and all(ended)

        self._wait(idle, within_s)

    def queue(self) -> tuple[str, ...]:
        """Queue files that still wait: names in incoming, active, deferred."""
        names = ("maildrop", "incoming", "active", "deferred")
        found = (
            file.name
            for name in names
            for file in (self.place / "queue" / name).rglob("*")
            if file.is_file()
        )
        return tuple(sorted(found))

    def _wait(self, ready: Callable[[], bool], within_s: float) -> None:
        until = time.monotonic() + within_s
        while not ready():
            if time.monotonic() > until:
                tail = "\n".join(self.log_lines()[-30:])
                raise TimeoutError(f"not within {within_s} s; its log ends:\n{tail}")
            time.sleep(0.02)

    # --- handing over -----------------------------------------------------
    def submit(
        self, octets: bytes, reverse_path: str, recipients: Iterable[str]
    ) -> None:
        """Hand a message to it over SMTP, as a user's program would."""
        with smtplib.SMTP(self.address, self.port, timeout=30) as client:
            options = ["BODY=8BITMIME"] if not octets.isascii() else []
            refused = client.sendmail(reverse_path, list(recipients), octets, options)
        if refused:
            raise ValueError(f"Postfix refused recipients: {sorted(refused)}")

    def flush(self) -> None:
        """Try everything that waits in its queue now."""
        command = ["postqueue", "-c", str(self.config_directory), "-f"]
        command[0] = presence.find("postqueue") or command[0]
        subprocess.run(command, check=True, timeout=30, capture_output=True)


@contextlib.contextmanager
def _run(server: Postfix) -> Iterator[Postfix]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def sink(
    *domains: str,
    credential: certs.Credential | None = None,
    address: str | None = None,
    port: int = 25,
    transcript: bool = True,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Postfix]:
    """A partner's mail server that takes mail for `domains`.

    Args:
        domains: At least one; every mailbox in them exists.
        credential: Its certificate; None: it does not offer STARTTLS.
        address: A claimed loopback address; default: a fresh one.
        port: 25 for a server that is found by MX.
        transcript: Write every command and reply to its log; costs time in a flood.
        parameters: More main.cf settings, for example
            `{"smtpd_recipient_restrictions": "check_recipient_access inline:{...}"}`.
    """
    presence.need("postfix")
    with daemon.folder("sink") as place:
        settings: dict[str, str] = {"smtpd_tls_security_level": "none"}
        if credential is not None:
            settings = _server_tls(place, credential)
        if transcript:
            settings |= {"debug_peer_list": "127.0.0.0/8", "debug_peer_level": "1"}
        settings |= parameters or {}
        with _run(Postfix(place, domains, settings, address, port)) as server:
            yield server


@contextlib.contextmanager
def sender(
    *domains: str,
    relay: tuple[str, int],
    tls: str = "encrypt",
    relay_ca: certs.Credential | None = None,
    credential: certs.Credential | None = None,
    address: str | None = None,
    port: int = 25,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Postfix]:
    """The municipality's mail server: relays all but its own mail to the gateway.

    What comes back for `domains`, its own notices and the gateway's, is in its
    `deliveries()`. It tries again after a second or two.

    Args:
        domains: The municipality's; the first names the host.
        relay: Address and port of the gateway.
        tls: smtp_tls_security_level towards the gateway.
        relay_ca: For `tls="verify"` or "secure": who issued the gateway's certificate.
        credential: Its certificate: as server for the gateway's notices, and as client.
        address: A claimed loopback address; default: a fresh one.
        port: Its own port.
        parameters: More main.cf settings.
    """
    presence.need("postfix")
    with daemon.folder("sender") as place:
        settings = {
            "relayhost": f"[{relay[0]}]:{relay[1]}",
            "smtp_tls_security_level": tls,
            "smtp_tls_loglevel": "1",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_tls_security_level": "none",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "queue_run_delay": "1s",
            "debug_peer_list": "127.0.0.0/8",
            "debug_peer_level": "1",
        }
        if credential is not None:
            settings |= _server_tls(place, credential)
            settings["smtp_tls_chain_files"] = settings["smtpd_tls_chain_files"]
        if relay_ca is not None:
            anchor = place / "relay-ca.pem"
            anchor.write_bytes(relay_ca.chain_pem)
            settings["smtp_tls_CAfile"] = str(anchor)
        settings |= parameters or {}
        with _run(Postfix(place, domains, settings, address, port)) as server:
            yield server


def _server_tls(place: pathlib.Path, credential: certs.Credential) -> dict[str, str]:
    files = credential.write(place / "tls")
    return {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(files.both),
        "smtpd_tls_loglevel": "1",
        "smtpd_tls_received_header": "yes",
    }


def _postconf(name: str) -> str:
    command = [presence.find("postconf") or "postconf", "-dh", name]
    answer = subprocess.run(
        command, check=True, timeout=10, capture_output=True, text=True
    )
    return answer.stdout.strip()


def _delivery(stored: bytes) -> Delivery:
    octets = stored.replace(b"\n", b"\r\n")
    envelope: dict[bytes, str] = {}
    while octets.startswith(_ENVELOPE_FIELDS):
        line, _, octets = octets.partition(b"\r\n")
        name, _, value = line.partition(b":")
        envelope[name] = value.strip().decode()
    rest = _after_first_field(octets)
    return Delivery(
        reverse_path=envelope[b"Return-Path"].removeprefix("<").removesuffix(">"),
        recipient=envelope[b"Delivered-To"],
        octets=rest,
        trace=octets[: len(octets) - len(rest)],
    )


def _after_first_field(octets: bytes) -> bytes:
    end = re.search(rb"\r\n(?![ \t])", octets)
    return octets[end.end() :] if end else b""


_Parts = tuple[list[str], list[str], bool]


def _sessions(lines: Iterable[str]) -> tuple[_Parts, ...]:
    """Commands, replies and whether it is over, for each session in order."""
    found: list[list] = []
    open_by_pid: dict[str, list] = {}
    for line in lines:
        match = _LINE.search(line)
        if match is None:
            continue
        pid, what, text = match.group("pid", "what", "text")
        if what == "connect from":
            session: list = [[], [], False]
            found.append(session)
            open_by_pid[pid] = session
        elif pid not in open_by_pid:
            continue
        elif what == "disconnect from":
            open_by_pid.pop(pid)[2] = True
        else:
            open_by_pid[pid][0 if what == "<" else 1].append(text or "")
    return tuple((commands, replies, over) for commands, replies, over in found)
