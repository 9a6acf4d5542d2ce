"""Questions to the validating resolver: every answer becomes a `Lookup`.

Theory: one resolver, on loopback (`config.Dns`), validates; its AD bit is believed for
positive and negative answers alike, because both come over a channel nobody else can
write to (B-10, B-12). AD is asked for with the AD bit in the question (RFC 6840 5.7).
Whatever is not a clean NOERROR or NXDOMAIN is `Unavailable`, never "no record" (B-11).

The cache holds an answer no longer than its TTL and never an `Unavailable`. `self_test`
is run at start: a resolver that does not validate makes every promise here false.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final, cast

import dns.asyncquery
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from gateway.config import Dns
from gateway.model.destination import Absent, Dnssec, Lookup, Present, Unavailable
from gateway.model.errors import ConfigError, TemporaryFailure

_TRIES = 2
_MAX_TTL_S: Final = 900  # R10: route facts are at most 15 minutes old
_MAX_ENTRIES: Final = 10_000
_PAYLOAD_OCTETS: Final = 1232  # fits every path unfragmented (DNS flag day 2020)
# Extended errors that say "the data does not validate" (RFC 8914 4.7 to 4.13).
_BOGUS: Final = frozenset(range(6, 13))
_ADDRESS = dns.rdatatype.A
_REMEDY = "run the validating resolver on this machine, see deploy/unbound.conf"


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Records of one type, and the name that the CNAME chain ended at."""

    records: tuple[Any, ...]  # dns.rdata.Rdata of the type asked for, at least one
    canonical: str  # absolute, lower-case, no trailing dot


class ValidatingResolver:
    """A stub that asks one validating resolver and nobody else."""

    def __init__(self, settings: Dns, monotonic: Callable[[], float]) -> None:
        """Ask nothing yet.

        Args:
            settings: Where the resolver is, and how long to wait for it.
            monotonic: Seconds that only grow, for the life of cached answers.
        """
        self._settings = settings
        self._monotonic = monotonic
        self._cache: dict[tuple[str, int], tuple[float, Lookup[Rows]]] = {}

    async def fetch(
        self, name: str, kind: dns.rdatatype.RdataType, *, fresh: bool = False
    ) -> Lookup[Rows]:
        """Ask for one RRset, following CNAMEs.

        Args:
            name: Absolute name in A-labels; no search list is ever used (B-05).
            kind: Record type.
            fresh: Do not answer from the cache (B-23).

        Returns:
            The DNSSEC state is that of the whole CNAME chain and the answer (B-12).
        """
        key = (name.lower(), int(kind))
        now = self._monotonic()
        cached = None if fresh else self._cache.get(key)
        if cached is not None and now < cached[0]:
            return cached[1]
        lookup = await self._ask(name, kind)
        self._remember(key, lookup, now)
        return lookup

    def _remember(self, key: tuple[str, int], lookup: Lookup[Rows], now: float) -> None:
        self._cache.pop(key, None)
        if isinstance(lookup, Unavailable):
            return
        while len(self._cache) >= _MAX_ENTRIES:
            del self._cache[next(iter(self._cache))]  # the oldest
        self._cache[key] = (now + min(lookup.ttl_s, _MAX_TTL_S), lookup)

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> Lookup[Rows]:
        try:
            qname = dns.name.from_text(name, dns.name.root)
        except dns.exception.DNSException:
            return Unavailable(bogus=False, detail="the name cannot be asked for")
        query = dns.message.make_query(
            qname,
            kind,
            use_edns=0,  # without EDNS the resolver cannot say why (RFC 8914)
            payload=_PAYLOAD_OCTETS,
            flags=dns.flags.RD | dns.flags.AD,
        )
        settings = self._settings
        problem = "time-out"
        for _ in range(_TRIES):
            try:
                response, _tcp = await dns.asyncquery.udp_with_fallback(
                    query,
                    settings.resolver,
                    timeout=settings.timeout_s / _TRIES,
                    port=settings.port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                )
                # A resolver that was never tested proves nothing (B-10).
                return _lookup_of(response, may_be_secure=settings.self_test)
            except dns.exception.Timeout:
                problem = "time-out"
            except (dns.exception.DNSException, OSError, EOFError) as error:
                problem = f"no usable answer ({type(error).__name__})"
        return Unavailable(bogus=False, detail=problem)

    async def self_test(self) -> None:
        """Prove that the resolver validates (B-10).

        Raises:
            ConfigError: It does not: a signed name came without AD, or a name that is
                known to be bogus was answered.
            TemporaryFailure: It could not be asked.
        """
        if not self._settings.self_test:
            return
        signed = await self.fetch(self._settings.secure_name, _ADDRESS, fresh=True)
        if isinstance(signed, Unavailable):
            raise TemporaryFailure(f"DNS self-test: {signed.detail}")
        if signed.dnssec is not Dnssec.SECURE:
            problem = "answers a signed name without the AD bit: it does not validate"
            raise ConfigError("dns.resolver", problem, _REMEDY)
        broken = await self.fetch(self._settings.bogus_name, _ADDRESS, fresh=True)
        if not isinstance(broken, Unavailable):
            problem = "answers a name whose signatures are wrong: it does not validate"
            raise ConfigError("dns.resolver", problem, _REMEDY)
        if not broken.detail.startswith(dns.rcode.to_text(dns.rcode.SERVFAIL)):
            raise TemporaryFailure(f"DNS self-test: {broken.detail}")


def _lookup_of(response: dns.message.Message, *, may_be_secure: bool) -> Lookup[Rows]:
    """One response as a value.

    Raises:
        dns.exception.DNSException: When the response contradicts itself.
    """
    rcode = response.rcode()
    if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return _unavailable(response)
    # The library has checked that it answers our question, so it is of its kind.
    chaining = cast("dns.message.QueryMessage", response).resolve_chaining()
    secure = may_be_secure and bool(response.flags & dns.flags.AD)
    dnssec = Dnssec.SECURE if secure else Dnssec.INSECURE
    if chaining.answer is None:
        nxdomain = rcode == dns.rcode.NXDOMAIN
        return Absent(dnssec, nxdomain=nxdomain, ttl_s=chaining.minimum_ttl)
    rows = Rows(tuple(chaining.answer), text_of(chaining.canonical_name))
    return Present(rows, dnssec, chaining.minimum_ttl)


def _unavailable(response: dns.message.Message) -> Unavailable:
    detail = dns.rcode.to_text(response.rcode())
    reasons = sorted(
        int(option.code)
        for option in response.options
        if isinstance(option, dns.edns.EDEOption)
    )
    if reasons:
        detail += ", EDE " + " ".join(map(str, reasons))
    return Unavailable(bogus=not _BOGUS.isdisjoint(reasons), detail=detail)


def text_of(name: dns.name.Name) -> str:
    """A name as we write it: lower-case, no trailing dot; the root is ""."""
    return name.to_text(omit_final_dot=True).lower() if name.labels != (b"",) else ""
