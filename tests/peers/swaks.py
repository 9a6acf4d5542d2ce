"""swaks, the tool that mail administrators test with, as an SMTP client."""

import dataclasses
import pathlib
import re
import subprocess
import tempfile

from tests.peers import presence


@dataclasses.dataclass(frozen=True)
class Swaks:
    """What one run of swaks gave."""

    exit_code: int
    transcript: str

    @property
    def replies(self) -> tuple[str, ...]:
        """Every line the server sent, in clear or over TLS, in order."""
        found = re.findall(r"^<(?:-|~|\*\*|~\*) +(\d{3}.*)$", self.transcript, re.M)
        return tuple(found)


def send(
    server: tuple[str, int],
    reverse_path: str,
    recipients: tuple[str, ...],
    *extra: str,
    octets: bytes | None = None,
) -> Swaks:
    """Run swaks once.

    Args:
        server: Address and port.
        reverse_path: "" for the null reverse-path.
        recipients: At least one.
        extra: More swaks options, for example `--tls`, `--auth PLAIN`.
        octets: The whole message with CRLF line ends; default: swaks' own test message.
    """
    presence.need("swaks", as_root=False)
    host, port = server
    with tempfile.TemporaryDirectory(prefix="ketenmail-swaks-") as folder:
        command = [
            presence.find("swaks"),
            *("--server", host, "--port", str(port), "--timeout", "30"),
            *("--from", reverse_path or "<>", "--to", ",".join(recipients)),
            *extra,
        ]
        if octets is not None:
            file = pathlib.Path(folder) / "message.eml"
            # swaks adds a line end of its own before the final dot.
            text = octets.removesuffix(b"\r\n").replace(b"\r\n", b"\n")
            file.write_bytes(text)
            command += ["--data", f"@{file}"]
        done = subprocess.run(
            command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL
        )
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    return Swaks(done.returncode, output)
