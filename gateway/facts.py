"""What the decision must know: registry rows and route facts, as they are now (R6)."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from gateway.config import AllowRange
from gateway.delivery.plan import NoHop, plan
from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.classification import Classification, Level
from gateway.model.ids import MunicipalityId
from gateway.model.job import Job
from gateway.model.message import Envelope
from gateway.model.partner import Partner, Route, RouteMethod
from gateway.ports import RecipientFacts, Resolver

_MOST_EDITS = 2
_LOOK_UP_S = 5.0  # a sender waits for its reply meanwhile
_LEAST_LENGTH = 6


class Registry(Protocol):
    """The partners of a municipality."""

    async def load(
        self, municipality: MunicipalityId, domain: Domain
    ) -> Partner | None:
        """The one that has this domain, whatever its state."""
        ...

    async def list_all(self, municipality: MunicipalityId) -> Sequence[Partner]:
        """All of them, in any state."""
        ...


class RegistryFacts:
    """Loads facts from the registry, and from the network where row 5b needs them."""

    def __init__(
        self,
        registry: Registry,
        resolver: Resolver,
        allow_ranges: tuple[AllowRange, ...],
        own_addresses: frozenset[str],
    ) -> None:
        self._registry = registry
        self._resolver = resolver
        self._allow_ranges = allow_ranges
        self._own_addresses = own_addresses

    async def load(
        self,
        envelope: Envelope,
        municipality: MunicipalityId,
        classification: Classification,
    ) -> Mapping[Mailbox, RecipientFacts]:
        """See `ports.Facts.load`."""
        return await self._facts(
            envelope.recipients, municipality, classification.level
        )

    async def load_now(self, job: Job) -> Mapping[Mailbox, RecipientFacts]:
        """See `ports.Facts.load_now`."""
        return await self._facts(job.open_recipients, job.municipality, Level.NONE)

    async def _facts(
        self,
        recipients: tuple[Mailbox, ...],
        municipality: MunicipalityId,
        level: Level,
    ) -> Mapping[Mailbox, RecipientFacts]:
        """Each domain is asked for once; what only one row needs, only then."""
        domains = list({recipient.domain for recipient in recipients})
        found = await asyncio.gather(
            *(self._of_domain(domain, municipality, level) for domain in domains)
        )
        by_domain = dict(zip(domains, found, strict=True))
        return {
            recipient: RecipientFacts(recipient, *by_domain[recipient.domain])
            for recipient in recipients
        }

    async def _of_domain(
        self, domain: Domain, municipality: MunicipalityId, level: Level
    ) -> tuple[Partner | None, str | None, bool]:
        partner = await self._registry.load(municipality, domain)
        resembles, reaches = None, False
        if partner is None and level is Level.CERTAIN:
            known = await self._registry.list_all(municipality)
            resembles = resembling(domain, known)
        if partner is None and level is Level.UNREADABLE:
            reaches = await self._reaches_authenticated(domain)
        return partner, resembles, reaches

    async def _reaches_authenticated(self, domain: Domain) -> bool:
        """Whether it is proven now; who is silent for long proves nothing."""
        route = Route(RouteMethod.MX, Assurance.AUTHENTICATED)
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                destination = await self._resolver.fetch_destination(route, domain)
        except TimeoutError:
            return False
        hops = plan(route, destination, self._allow_ranges, self._own_addresses)
        return not isinstance(hops, NoHop)


def resembling(domain: Domain, partners: Iterable[Partner]) -> str | None:
    """The name of a partner whose domain is this one with a typing error, if any."""
    if len(domain.name) < _LEAST_LENGTH:
        return None
    for partner in partners:
        if any(is_near(domain.name, known.name) for known in partner.domains):
            return partner.name
    return None


def is_near(one: str, other: str) -> bool:
    """Whether at most two single-character edits lie between two names.

    Also true when one is the other with a label in front (`mail.partner.nl`): people
    confuse those too. Never true of equal names.
    """
    if one == other:
        return False
    if one.endswith("." + other) or other.endswith("." + one):
        return True
    if abs(len(one) - len(other)) > _MOST_EDITS:
        return False
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1] <= _MOST_EDITS
