"""A clamd of its own: own settings, own signatures, nothing of the distribution.

It knows what `SIGNATURES` says and nothing else, so that no download is needed. It runs
in the foreground as the user of the test (`User` is not set), and its executable is a
copy: the profile that a distribution may have for AppArmor goes by the path.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import socket
from collections.abc import Iterator

from tests.peers import daemon, loopback, presence

# What the signature stands for; harmless text. Written in pieces, so that this file is
# not what it warns of.
MALWARE = b"KETENMAIL-PROEF-BESMETTING-5d1f"
NAME = "Ketenmail.Proef"  # clamd adds ".UNOFFICIAL": not of its own makers
SIGNATURES = f"{NAME}:0:*:{MALWARE.hex()}\n"  # any file, anywhere in it

_SETTINGS = """
Foreground yes
DatabaseDirectory {place}/signatures
TemporaryDirectory {place}/tmp
LogFile {place}/clamd.log
LocalSocket {place}/clamd.sock
LocalSocketMode 600
TCPAddr {address}
TCPSocket {port}
StreamMaxLength {most}
AlertExceedsMax yes
ConcurrentDatabaseReload no
MaxThreads 4
"""


@dataclasses.dataclass
class Clamd:
    """A clamd that can be started and stopped, always in the same place."""

    place: pathlib.Path
    address: str
    port: int
    process: daemon.Daemon | None = None

    @property
    def socket(self) -> pathlib.Path:
        return self.place / "clamd.sock"

    def start(self) -> None:
        command = [str(self.place / "clamd"), "-c", str(self.place / "clamd.conf")]
        self.process = daemon.Daemon(command, self.place / "output.log")
        self.process.wait_until(self._answers, 60)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(b"zPING\0")
            return connection.recv(16) == b"PONG\0"


@contextlib.contextmanager
def run(most: str = "100M") -> Iterator[Clamd]:
    """A clamd that takes messages of at most `most`."""
    presence.need("clamd", as_root=False)
    with daemon.folder("clamd") as place:
        for name in ("signatures", "tmp"):
            (place / name).mkdir(mode=0o755)
        (place / "signatures" / "own.ndb").write_text(SIGNATURES)
        shutil.copy(presence.find("clamd"), place / "clamd")
        clamd = Clamd(place, "127.0.0.1", loopback.free_port())
        settings = _SETTINGS.format(
            place=place, address=clamd.address, port=clamd.port, most=most
        )
        (place / "clamd.conf").write_text(settings)
        clamd.start()
        try:
            yield clamd
        finally:
            clamd.stop()
