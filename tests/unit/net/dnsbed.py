"""Real DNS for tests: signed, bogus and unsigned zones, on loopback and high ports.

One Unbound serves them, another validates (ecosystem appendix D).
"""

import contextlib
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

TLSA = "TLSA 3 1 1 " + "ab" * 32
OTHER_TLSA = "TLSA 3 1 1 " + "cd" * 32

ZONES = {
    "signed.example": f"""
@ SOA ns1 host 1 3600 600 86400 300
@ NS ns1
ns1 A 127.0.0.1
@ MX 10 mx1
@ MX 10 mx2
@ MX 20 MX3
mx1 A 127.0.0.2
mx1 AAAA ::2
_25._tcp.mx1 {TLSA}
mx2 A 127.0.0.3
mx3 A 127.0.0.4
_25._tcp.mx3 {TLSA}
www CNAME signed.example.

nullmx MX 0 .
mixed MX 0 .
mixed MX 10 mx1
nodata A 127.0.0.5
_25._tcp.nodata {TLSA}
nothing TXT "no address"
odd MX 10 _bad
odd MX 20 1.2.3.4.
halfodd MX 10 _bad
halfodd MX 20 mx1
many MX 1 h01
many MX 2 h02
many MX 3 h03
many MX 4 h04
many MX 5 h05
many MX 6 h06
many MX 7 h07
many MX 8 h08
many MX 9 h09
many MX 10 h10
many MX 11 h11
many MX 12 h12

; A host that is an alias: TLSA at the end of it, or at the name itself (B-14).
alias CNAME mx1
to-alias MX 10 alias
alias2 CNAME mx2
_25._tcp.alias2 {OTHER_TLSA}
to-alias2 MX 10 alias2
; A secure alias that leads into an unsigned zone.
out CNAME host.unsigned.example.
_25._tcp.out {OTHER_TLSA}
to-out MX 10 out
; TLSA that cannot be asked, below a host that can.
broken A 127.0.0.6
_25._tcp.broken CNAME tlsa.bogus.example.
to-broken MX 10 broken
brokenalias CNAME broken
_25._tcp.brokenalias {TLSA}
to-brokenalias MX 10 brokenalias
; A host in an unsigned zone, one in a bogus one, one that is not there.
to-unsigned MX 10 host.unsigned.example.
to-bogus MX 10 host.bogus.example.
to-nowhere MX 10 nowhere
""",
    "unsigned.example": f"""
@ SOA ns1 host 1 3600 600 86400 300
@ NS ns1
ns1 A 127.0.0.1
@ MX 10 mx1.signed.example.
host A 127.0.0.7
_25._tcp.host {TLSA}
alias CNAME host
_25._tcp.alias {TLSA}
to-alias MX 10 alias
""",
    "bogus.example": f"""
@ SOA ns1 host 1 3600 600 86400 300
@ NS ns1
ns1 A 127.0.0.1
@ MX 10 host
@ A 127.0.0.8
host A 127.0.0.8
tlsa {TLSA}
""",
}

_COMMON = """server:
  interface: 127.0.0.1@{port}
  port: {port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/{port}.pid"
  do-daemonize: no
  use-syslog: no
  logfile: "{folder}/{port}.log"
  access-control: 127.0.0.0/8 allow
  num-threads: 1
"""


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[tuple[int, int]]:
    """The ports of (validating resolver, authoritative server)."""
    anchors = {name: _sign(folder, name) for name in ("signed", "bogus")}
    _write_zone(folder, "unsigned")
    stranger = dns.dnssec.make_ds("bogus.example.", _key()[1], "SHA256")
    (folder / "anchors").write_text(
        f"signed.example. 300 IN DS {anchors['signed']}\n"
        f"bogus.example. 300 IN DS {stranger}\n"
    )
    authority, validator = _free_port(), _free_port()
    text = _COMMON.format(port=authority, folder=folder)
    text += '  module-config: "iterator"\n'
    for zone in ZONES:
        text += f'auth-zone:\n  name: "{zone}."\n  zonefile: "{folder}/{zone}"\n'
        text += "  for-downstream: yes\n  for-upstream: yes\n"
    (folder / "authority.conf").write_text(text)
    text = _COMMON.format(port=validator, folder=folder)
    text += f'  do-not-query-localhost: no\n  trust-anchor-file: "{folder}/anchors"\n'
    text += "  ede: yes\n  val-log-level: 2\n"
    for zone in ZONES:
        text += f'stub-zone:\n  name: "{zone}."\n  stub-addr: 127.0.0.1@{authority}\n'
    (folder / "validator.conf").write_text(text)
    with contextlib.ExitStack() as stack:
        for name, port in (("authority", authority), ("validator", validator)):
            stack.enter_context(_unbound(folder / f"{name}.conf"))
            _await_answer(port)
        yield validator, authority


@contextlib.contextmanager
def _unbound(config: pathlib.Path) -> Iterator[None]:
    process = subprocess.Popen(["/usr/sbin/unbound", "-c", str(config)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _key():
    private = ec.generate_private_key(ec.SECP256R1())
    algorithm = dns.dnssec.Algorithm.ECDSAP256SHA256
    public = dns.dnssec.make_dnskey(private.public_key(), algorithm, flags=257)
    return private, public


def _zone(name: str) -> dns.zone.Zone:
    text = "$TTL 300\n" + ZONES[f"{name}.example"]
    return dns.zone.from_text(text, origin=f"{name}.example.", relativize=False)


def _write_zone(folder: pathlib.Path, name: str) -> None:
    _zone(name).to_file(str(folder / f"{name}.example"), relativize=False)


def _sign(folder: pathlib.Path, name: str):
    zone = _zone(name)
    private, public = _key()
    with zone.writer() as writer:
        dns.dnssec.sign_zone(
            zone,
            txn=writer,
            keys=[(private, public)],
            lifetime=86400 * 7,
            add_dnskey=True,
            dnskey_ttl=300,
        )
    zone.to_file(str(folder / f"{name}.example"), relativize=False)
    return dns.dnssec.make_ds(f"{name}.example.", public, "SHA256")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return reserved.getsockname()[1]


def _await_answer(port: int) -> None:
    query = dns.message.make_query("signed.example.", "SOA")
    until = time.monotonic() + 20
    while True:
        try:
            answer = dns.query.udp(query, "127.0.0.1", 1, port)
        except (dns.exception.Timeout, OSError):
            answer = None
        if answer is not None and answer.answer:
            return
        assert time.monotonic() < until, "unbound does not answer"
        time.sleep(0.05)
