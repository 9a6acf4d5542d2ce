"""msmtp, the SMTP client behind `mail`, `mutt` and `git send-email` on many machines."""

import dataclasses
import pathlib
import subprocess

from tests import certs
from tests.peers import daemon, unpacked

_SETTINGS = """
defaults
tls on
tls_trust_file {anchor}
tls_starttls {starttls}
timeout 30
account gateway
host {host}
port {port}
tls_host_override {name}
from {reverse_path}
auth {auth}
"""


@dataclasses.dataclass(frozen=True)
class Login:
    """A user of the gateway."""

    user: str
    password: str = dataclasses.field(repr=False)
    mechanism: str = "on"  # msmtp chooses; or plain, login


@dataclasses.dataclass(frozen=True)
class Msmtp:
    """What one run of msmtp gave; the codes are those of sysexits.h."""

    exit_code: int
    said: str  # what its user reads


def send(
    server: tuple[str, int],
    name: str,
    ca: certs.Credential,
    reverse_path: str,
    recipients: tuple[str, ...],
    octets: bytes,
    *,
    login: Login | None = None,
    implicit: bool = False,
) -> Msmtp:
    """Hand over one message; the server's certificate is verified.

    Args:
        server: Address and port.
        name: What the server's certificate must be for.
        ca: Who issued it.
        reverse_path: The envelope sender.
        recipients: At least one.
        octets: The whole message; msmtp reads it as a user's program writes it, with LF.
        login: None: no AUTH.
        implicit: TLS from the first octet, not STARTTLS.
    """
    tree = unpacked.need("msmtp")
    with daemon.folder("msmtp") as place:
        settings = _write(place, server, name, ca, reverse_path, login, implicit)
        done = subprocess.run(
            tree.command("msmtp", "-C", str(settings), "-a", "gateway", *recipients),
            input=octets.replace(b"\r\n", b"\n"),
            capture_output=True,
            timeout=60,
        )
    return Msmtp(done.returncode, (done.stdout + done.stderr).decode("utf-8"))


def _write(
    place: pathlib.Path,
    server: tuple[str, int],
    name: str,
    ca: certs.Credential,
    reverse_path: str,
    login: Login | None,
    implicit: bool,
) -> pathlib.Path:
    anchor = place / "ca.pem"
    anchor.write_bytes(ca.chain_pem)
    text = _SETTINGS.format(
        anchor=anchor,
        starttls="off" if implicit else "on",
        host=server[0],
        port=server[1],
        name=name,
        reverse_path=reverse_path,
        auth="off" if login is None else login.mechanism,
    )
    if login is not None:
        text += f"user {login.user}\npassword {login.password}\n"
    settings = place / "msmtprc"
    settings.touch(mode=0o600)  # msmtp reads a password from no other
    settings.write_text(text, "utf-8")
    return settings
