"""A real Exim as the municipality's mail server, with the gateway as its smarthost.

Debian's Exim runs as its own user, whom a machine without the package does not have,
and verifies a name that no DNS here has: it runs in a mount namespace of its own with
its own passwd, group and hosts. The system's files stay as they are.
"""

import contextlib
import pathlib
import shutil
import smtplib
from collections.abc import Iterator, Mapping

from tests import certs
from tests.peers import daemon, loopback, presence, unpacked

PORT = 25
_PACKAGE = "exim4-daemon-light"
_USER = "Debian-exim"  # built in
_UID = 65432  # reserved, so nobody's: Debian Policy section 9.2.2
_SETTINGS = """
exim_path = {exim}
keep_environment = LD_LIBRARY_PATH
spool_directory = {place}/spool
log_file_path = {place}/log/%slog
log_selector = +smtp_protocol_error +tls_certificate_verified +tls_peerdn
pid_file_path = {place}/exim.pid
primary_hostname = mail.{domain}
qualify_domain = {domain}
local_interfaces = {address}
daemon_smtp_ports = {port}
deliver_drop_privilege = true
check_spool_space = 0
check_log_space = 0
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
chunking_advertise_hosts =
dns_dnssec_ok = 0
disable_ipv6 = true
acl_smtp_rcpt = permit
acl_smtp_data = permit
begin acl
permit:
  accept
begin routers
own:
  driver = accept
  domains = {domain}
  transport = inbox
smarthost:
  driver = manualroute
  transport = gateway
  route_list = * {relay_name} byname
  self = send
begin transports
inbox:
  driver = appendfile
  directory = {place}/inbox
  create_directory = true
  maildir_format = true
  user = {user}
  group = {user}
  envelope_to_add = true
  return_path_add = true
gateway:
  driver = smtp
  port = {relay_port}
  interface = {address}
  allow_localhost = true
  hosts_require_tls = *
  hosts_try_dane =
  max_rcpt = 0
  tls_verify_certificates = {place}/ca.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
{transport}
begin retry
* * F,1h,1s
begin authenticators
{authenticators}
"""
_PLAIN = """
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{user}^{password}
"""


class Exim:
    """A running Exim for one domain; see `sender`."""

    def __init__(self, place: pathlib.Path, address: str) -> None:
        self.place = place
        self.address = address

    @property
    def log(self) -> str:
        """Its main log so far."""
        file = self.place / "log" / "mainlog"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def inbox(self) -> tuple[bytes, ...]:
        """What was delivered to its own domain, with LF as Exim stores it."""
        new = self.place / "inbox" / "new"
        files = sorted(new.iterdir()) if new.is_dir() else []
        return tuple(file.read_bytes() for file in files)

    def wait_for_inbox(self, within_s: float = 30) -> bytes:
        """The newest of its own mail, as soon as there is any."""
        assert daemon.until(lambda: bool(self.inbox()), within_s), self.log
        return self.inbox()[-1]

    def submit(self, octets: bytes, reverse_path: str, recipient: str) -> None:
        """Hand a message to it over SMTP, as a user's program would."""
        options = [] if octets.isascii() else ["BODY=8BITMIME"]
        with smtplib.SMTP(self.address, PORT, timeout=30) as client:
            client.sendmail(reverse_path, [recipient], octets, options)


@contextlib.contextmanager
def sender(
    domain: str,
    relay: tuple[str, int],
    relay_name: str,
    relay_ca: certs.Credential,
    *,
    credential: certs.Credential | None = None,
    login: tuple[str, str] | None = None,
) -> Iterator[Exim]:
    """An Exim that keeps mail for `domain` and hands all other to the gateway.

    Args:
        domain: The municipality's.
        relay: Address and port of the gateway.
        relay_name: What the gateway's certificate is for; Exim verifies it.
        relay_ca: Who issued that.
        credential: Its client certificate.
        login: User and password for AUTH PLAIN; Exim sends nothing without AUTH then.
    """
    presence.need("unshare")
    unpacked_tree = unpacked.need(_PACKAGE)
    with daemon.folder("exim") as place:
        tree = unpacked_tree.copied(place / "tree")  # its user executes it anew
        address = loopback.claim()
        settings = {
            "exim": tree.find("exim4"),
            "place": str(place),
            "user": _USER,
            "domain": domain,
            "address": address,
            "port": str(PORT),
            "relay_name": relay_name,
            "relay_port": str(relay[1]),
            "transport": _transport(place, credential, login),
            "authenticators": "",
        }
        if login is not None:
            settings["authenticators"] = _PLAIN.format(
                user=login[0], password=login[1].replace("^", "^^")
            )
        (place / "ca.pem").write_bytes(relay_ca.chain_pem)
        _lay_out(place, settings, f"{relay[0]} {relay_name}\n")
        process = daemon.Daemon(_command(tree, place), place / "exim.out")
        try:
            process.wait_until(lambda: _greets(address))
            yield Exim(place, address)
        finally:
            process.stop()


def _transport(
    place: pathlib.Path,
    credential: certs.Credential | None,
    login: tuple[str, str] | None,
) -> str:
    lines = []
    if credential is not None:
        files = credential.write(place / "tls", "client")
        for file in (files.certificate, files.key):
            shutil.chown(file, _UID, _UID)
        lines += [
            f"  tls_certificate = {files.certificate}",
            f"  tls_privatekey = {files.key}",
        ]
    if login is not None:
        lines.append("  hosts_require_auth = *")
    return "\n".join(lines)


def _lay_out(place: pathlib.Path, settings: Mapping[str, str], hosts: str) -> None:
    for name in ("spool", "log", "inbox"):
        (place / name).mkdir(mode=0o750)
        shutil.chown(place / name, _UID, _UID)
    own = place / "exim.conf"
    own.write_text(_SETTINGS.format_map(settings), "utf-8")
    own.chmod(0o644)  # Exim believes no file that others could have written
    passwd = f"{_USER}:x:{_UID}:{_UID}::{place}/spool:/usr/sbin/nologin\n"
    for name, line in (
        ("passwd", passwd),
        ("group", f"{_USER}:x:{_UID}:\n"),
        ("hosts", hosts),
    ):
        kept = pathlib.Path("/etc", name).read_text("utf-8").splitlines(keepends=True)
        others = [each for each in kept if not each.startswith(f"{_USER}:")]
        made = place / name
        made.write_text("".join([line, *others]), "utf-8")
        made.chmod(0o644)


def _command(tree: unpacked.Tree, place: pathlib.Path) -> list[str]:
    script = (
        'for name in passwd group hosts; do mount --bind "$0/$name" "/etc/$name"'
        ' || exit 1; done; exec "$@"'
    )
    # -q1s: what waits is tried again every second.
    exim = tree.command("exim4", "-C", str(place / "exim.conf"), "-bdf", "-q1s")
    unshare = presence.find("unshare") or "unshare"
    return [unshare, "--mount", "sh", "-c", script, str(place), *exim]


def _greets(address: str) -> bool:
    with smtplib.SMTP(address, PORT, timeout=5) as client:
        return client.noop()[0] == 250
