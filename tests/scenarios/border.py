"""Segments whose borders are certain: the next is sent when the last has been read.

TCP joins what is sent shortly after one another, however it is sent, and a pause only
makes that unlikely. The kernel knows better: the socket at the other end, which is on
this machine, says how many octets came and how many of them nobody has read
(sock_diag(7), tcp(7) TCP_INFO). When a server in one event loop has read a segment, it
looks at it before it reads another.
"""

import itertools
import socket
import struct
import time
from collections.abc import Iterator

_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_ERROR = 2
_INFO = 2  # the extension that answers struct tcp_info
_HEAD = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBxI")
_ANSWER_OCTETS = 72  # of struct inet_diag_msg
_UNREAD = struct.Struct("=I")
_UNREAD_AT = 56
_RECEIVED_AT = 128  # tcpi_bytes_received; these three are u64 in struct tcp_info
_SENT_AT = 200  # tcpi_bytes_sent
_AGAIN_AT = 208  # tcpi_bytes_retrans
_COUNT = struct.Struct("=Q")


def wait_until_read(sock: socket.socket, within_s: float = 30) -> None:
    """Return when the peer of a connected IPv4 socket has read all that was sent.

    Raises:
        ConnectionError: When the peer's socket is gone.
        TimeoutError: When it is not read in time.
    """
    until = time.monotonic() + within_s
    sent = _sent(sock)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(within_s)
        question = _question(sock)
        while _read(kernel, question) < sent:
            if time.monotonic() > until:
                raise TimeoutError("the peer does not read")
            time.sleep(0.0001)


def _sent(sock: socket.socket) -> int:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    sent, again = (
        _COUNT.unpack_from(info, _SENT_AT),
        _COUNT.unpack_from(info, _AGAIN_AT),
    )
    return sent[0] - again[0]


def _question(sock: socket.socket) -> bytes:
    (near, near_port), (far, far_port) = sock.getsockname(), sock.getpeername()
    states = 0xFFFFFFFF
    body = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), states)
    body += struct.pack(">HH", far_port, near_port)
    body += socket.inet_aton(far).ljust(16, b"\0")
    body += socket.inet_aton(near).ljust(16, b"\0")
    body += struct.pack("=I", 0) + b"\xff" * 8  # any interface, no cookie
    return _HEAD.pack(16 + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + body


def _read(kernel: socket.socket, question: bytes) -> int:
    """How many octets the program at the other end has taken from its socket."""
    kernel.send(question)
    answer = kernel.recv(8192)
    if _HEAD.unpack_from(answer)[1] == _ERROR:
        raise ConnectionError("the peer's socket is gone")
    (unread,) = _UNREAD.unpack_from(answer, 16 + _UNREAD_AT)
    at, end = 16 + _ANSWER_OCTETS, len(answer)
    while at < end:
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == _INFO:
            return _COUNT.unpack_from(answer, at + 4 + _RECEIVED_AT)[0] - unread
        at += (length + 3) & ~3
    raise ConnectionError("the kernel does not say what was received")


def send_in_segments(sock: socket.socket, pieces: Iterator[bytes]) -> None:
    """Send the pieces, each only when the one before has been read."""
    for piece in pieces:
        sock.sendall(piece)
        wait_until_read(sock)


def cut(octets: bytes, size: int) -> Iterator[bytes]:
    """Pieces of `size` octets; the last may be shorter."""
    return (octets[at : at + size] for at in range(0, len(octets), size))


def cuttings(before: bytes, core: bytes, after: bytes) -> Iterator[tuple[bytes, ...]]:
    """All ways to cut: once at every border of `core`, and it in pieces of every size."""
    whole = before + core + after
    for at in range(len(before), len(before) + len(core) + 1):
        yield whole[:at], whole[at:]
    for size in range(1, len(core) + 1):
        yield tuple(itertools.chain((before,), cut(core, size), (after,)))
