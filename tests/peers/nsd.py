"""Signed zones on a real NSD: what the world's name servers say, true or broken.

One signed apex (`test.` unless asked otherwise) is the trust anchor. Each zone below it
is delegated: with a DS record, or without one, so that its insecurity is proven. Zones
may be damaged, expired, changed and published again while NSD runs.
"""

import contextlib
import dataclasses
import datetime
import enum
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Self

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.rdata
import dns.rdataset
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.model.destination import Tlsa
from tests.peers import daemon, loopback, presence

TTL_S = 300
PORT = 53
_ALGORITHM = dns.dnssec.Algorithm.ECDSAP256SHA256


class Security(enum.Enum):
    """How a zone hangs below the signed apex."""

    SECURE = "signed, DS in the parent"
    INSECURE = "unsigned, the parent proves that there is no DS"
    BOGUS = "signed, DS in the parent, every signature over data damaged"
    EXPIRED = "signed, DS in the parent, every signature expired"


@dataclasses.dataclass(frozen=True)
class _Record:
    owner: str  # absolute, with final dot
    rdtype: str
    text: str
    ttl_s: int


class Zone:
    """One zone; change it, then `Zones.publish()`.

    Names are relative to the zone, "@" for the zone itself, or absolute with a dot.
    """

    def __init__(self, name: str, server: str, security: Security) -> None:
        self.name = name.rstrip(".")
        self.security = security
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._records: list[_Record] = []
        self._damaged: set[tuple[str, str]] = set()
        self.rr("@", "NS", f"ns.{self.name}.")
        self.a("ns", server)

    def rr(self, owner: str, rdtype: str, text: str, ttl_s: int = TTL_S) -> Self:
        """Add one record in presentation form."""
        self._records.append(_Record(self._absolute(owner), rdtype, text, ttl_s))
        return self

    def a(self, owner: str, address: str) -> Self:
        return self.rr(owner, "AAAA" if ":" in address else "A", address)

    def mx(self, host: str, preference: int = 10, owner: str = "@") -> Self:
        """Add an exchanger; "." is the null MX (RFC 7505)."""
        target = "." if host == "." else self._absolute(host)
        return self.rr(owner, "MX", f"{preference} {target}")

    def cname(self, owner: str, target: str) -> Self:
        return self.rr(owner, "CNAME", self._absolute(target))

    def tlsa(self, host: str, *records: Tlsa, port: int = 25) -> Self:
        """Publish TLSA records for a host of this zone."""
        for each in records:
            head = f"{each.usage} {each.selector} {each.matching_type}"
            self.rr(f"_{port}._tcp.{host}", "TLSA", f"{head} {each.data.hex()}")
        return self

    def remove(self, owner: str, rdtype: str | None = None) -> Self:
        """Remove all records of an owner, or those of one type."""
        name = self._absolute(owner)
        self._records = [
            each
            for each in self._records
            if each.owner != name or rdtype not in {None, each.rdtype}
        ]
        return self

    def damage(self, owner: str, rdtype: str) -> Self:
        """Break the signatures of one record set: it alone becomes bogus."""
        self._damaged.add((self._absolute(owner), rdtype))
        return self

    def repair(self) -> Self:
        """Undo `damage`, and make the zone secure."""
        self._damaged.clear()
        self.security = Security.SECURE
        return self

    def ds(self) -> str | None:
        """The DS record that the parent publishes."""
        if self.security is Security.INSECURE:
            return None
        return dns.dnssec.make_ds(f"{self.name}.", self._dnskey(), "SHA256").to_text()

    def render(self, serial: int) -> str:
        """The zone file, signed as `security` says."""
        zone = dns.zone.from_text(self._text(serial), f"{self.name}.", relativize=False)
        if self.security is not Security.INSECURE:
            self._sign(zone)
        return zone.to_text(relativize=False)

    def _absolute(self, name: str) -> str:
        if name.endswith("."):
            return name
        return f"{self.name}." if name == "@" else f"{name}.{self.name}."

    def _text(self, serial: int) -> str:
        soa = f"ns.{self.name}. host.{self.name}. {serial} 3600 600 86400 {TTL_S}"
        lines = [f"{self.name}. {TTL_S} IN SOA {soa}"]
        lines += [f"{r.owner} {r.ttl_s} IN {r.rdtype} {r.text}" for r in self._records]
        return "\n".join(lines) + "\n"

    def _dnskey(self) -> dns.rdata.Rdata:
        return dns.dnssec.make_dnskey(self._key.public_key(), _ALGORITHM, flags=257)

    def _sign(self, zone: dns.zone.Zone) -> None:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        shift = datetime.timedelta(days=30 if self.security is Security.EXPIRED else 0)
        with zone.writer() as transaction:
            dns.dnssec.sign_zone(
                zone,
                transaction,
                keys=[(self._key, self._dnskey())],
                dnskey_ttl=TTL_S,
                inception=now - shift - datetime.timedelta(days=1),
                expiration=now - shift + datetime.timedelta(days=14),
            )
        self._break(zone)

    def _break(self, zone: dns.zone.Zone) -> None:
        for name, signatures in list(zone.iterate_rdatasets()):
            if signatures.rdtype != dns.rdatatype.RRSIG:
                continue
            covers = dns.rdatatype.to_text(signatures.covers)
            whole = self.security is Security.BOGUS and covers != "DNSKEY"
            if not whole and (name.to_text(), covers) not in self._damaged:
                continue
            broken = dns.rdataset.Rdataset(
                signatures.rdclass, signatures.rdtype, signatures.covers, signatures.ttl
            )
            for each in signatures:
                flipped = bytes([each.signature[0] ^ 1]) + each.signature[1:]
                broken.add(each.replace(signature=flipped))
            zone.replace_rdataset(name, broken)


class Zones:
    """A running NSD with the apex and the zones below it.

    The zones `secure` and `bogus` are there from the start: they are what a gateway
    asks when it tests its resolver (`dns.secure_name`, `dns.bogus_name`).
    """

    def __init__(self, place: pathlib.Path, apex: str) -> None:
        self.address = loopback.claim()
        self.apex = Zone(apex, self.address, Security.SECURE)
        self._place = place
        self._zones: dict[str, Zone] = {}
        self._serial = 0
        self._daemon: daemon.Daemon | None = None
        self.secure_name = f"secure.{apex}"
        self.bogus_name = f"bogus.{apex}"
        self.add(self.secure_name).a("@", self.address)
        self.add(self.bogus_name, Security.BOGUS).a("@", self.address)

    def add(self, name: str, security: Security = Security.SECURE) -> Zone:
        """Add (or replace) a zone below the apex; `publish()` makes it seen."""
        if not name.endswith(f".{self.apex.name}"):
            raise ValueError(f"{name} is not below {self.apex.name}")
        zone = Zone(name, self.address, security)
        self._zones[zone.name] = zone
        return zone

    def delegate(self, name: str, address: str) -> None:
        """Delegate a zone to another server, for example to one that never answers."""
        self.apex.rr(f"{name}.", "NS", f"elsewhere.{name}.")
        self.apex.a(f"elsewhere.{name}.", address)

    def trust_anchor(self) -> str:
        """The DS record of the apex, for a validating resolver."""
        return f"{self.apex.name}. {TTL_S} IN DS {self.apex.ds()}\n"

    def publish(self) -> None:
        """Sign, write and serve the zones as they are now; returns when they are seen.

        Resolvers may still have older answers: see `Unbound.flush`.
        """
        self._serial += 1
        self._write()
        if self._daemon is not None:
            self._control("reconfig")
            self._control("reload")
            self._daemon.wait_until(self._seen)

    def start(self) -> None:
        self.publish()
        command = [presence.find("nsd"), "-d", "-c", str(self._place / "nsd.conf")]
        self._daemon = daemon.Daemon(command, self._place / "nsd.log")
        self._daemon.wait_until(self._seen)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def _write(self) -> None:
        apex = Zone(self.apex.name, self.address, Security.SECURE)
        apex._key, apex._damaged = self.apex._key, self.apex._damaged
        apex._records = list(self.apex._records)
        apex.security = self.apex.security
        for zone in self._zones.values():
            apex.rr(f"{zone.name}.", "NS", f"ns.{zone.name}.")
            apex.a(f"ns.{zone.name}.", self.address)
            record = zone.ds()
            if record is not None:
                apex.rr(f"{zone.name}.", "DS", record)
        for zone in (apex, *self._zones.values()):
            file = self._place / f"{zone.name}.zone"
            file.write_text(zone.render(self._serial), "ascii")
        (self._place / "nsd.conf").write_text(self._settings(), "ascii")

    def _settings(self) -> str:
        place = self._place
        zones = "".join(
            f'zone:\n  name: "{name}"\n  zonefile: "{place}/{name}.zone"\n'
            for name in (self.apex.name, *self._zones)
        )
        return f"""server:
  ip-address: {self.address}@{PORT}
  username: ""
  chroot: ""
  zonesdir: "{place}"
  database: ""
  pidfile: "{place}/nsd.pid"
  zonelistfile: "{place}/zone.list"
  xfrdfile: "{place}/xfrd.state"
  xfrdir: "{place}"
  server-count: 1
  hide-version: yes
remote-control:
  control-enable: yes
  control-interface: "{place}/nsd.ctl"
{zones}"""

    def _control(self, *words: str) -> None:
        settings = str(self._place / "nsd.conf")
        command = [presence.find("nsd-control"), "-c", settings, *words]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def _seen(self) -> bool:
        names = (self.apex.name, *self._zones)
        return all(self._served_serial(name) == self._serial for name in names)

    def _served_serial(self, name: str) -> int | None:
        query = dns.message.make_query(f"{name}.", "SOA")
        try:
            reply = dns.query.udp(query, self.address, timeout=0.1, port=PORT)
        except dns.exception.Timeout:
            return None
        for rrset in reply.answer:
            if rrset.rdtype == dns.rdatatype.SOA:
                return rrset[0].serial
        return None


@contextlib.contextmanager
def serve(apex: str = "test") -> Iterator[Zones]:
    """Run NSD with signed zones below `apex`."""
    presence.need("nsd", "nsd-control")
    with daemon.folder("nsd") as place:
        zones = Zones(place, apex)
        try:
            zones.start()
            yield zones
        finally:
            zones.stop()


__all__ = ["PORT", "TTL_S", "Security", "Zone", "Zones", "serve"]
