"""Loopback addresses of one's own, so that each peer can have port 25 or 53 for itself.

An address is claimed by binding a socket of this process to it. The kernel lets one
process have it and takes it back when the process ends, however it ends: test workers
and other test runs on the same machine never share an address.
"""

import atexit
import os
import socket
import time

_CLAIM_PORT = 9  # "discard": nothing in the tests serves it
_FIRST, _LAST = 2, 250
_claims: list[socket.socket] = []


def claim() -> str:
    """A loopback address 127.0.x.y that no other test process uses."""
    span = _LAST - _FIRST + 1
    start = os.getpid() * 61
    for step in range(span * span):
        high, low = divmod((start + step) % (span * span), span)
        address = f"127.0.{_FIRST + high}.{_FIRST + low}"
        claiming = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claiming.bind((address, _CLAIM_PORT))
        except OSError:
            claiming.close()
            continue
        _claims.append(claiming)
        return address
    raise RuntimeError("no loopback address is free")


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago; prefer a claimed address and port 25."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def wait_until_open(address: str, port: int, within_s: float = 10) -> None:
    """Return as soon as a TCP port accepts connections."""
    until = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError as error:
            if time.monotonic() > until:
                raise TimeoutError(f"{address}:{port} does not open") from error
            time.sleep(0.01)
        else:
            return


@atexit.register
def _release() -> None:
    for claiming in _claims:
        claiming.close()
