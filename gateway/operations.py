"""What people ask of a running or stopped gateway: plain answers from plain ports.

Nothing here changes a message. Answers are JSON-able dictionaries, the same for every
surface (command line now, REST and pages later).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from gateway.delivery.plan import NoHop, plan
from gateway.model.address import Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.classification import Classification, Level, RegimeFinding
from gateway.model.destination import (
    DaneDemand,
    Destination,
    Hop,
    Lookup,
    MxDestination,
    Opportunistic,
    PinDemand,
    Present,
    TlsDemand,
    Unavailable,
)
from gateway.model.document import Document
from gateway.model.ids import ClientId, MessageId, MunicipalityId, RegimeId
from gateway.model.job import Job
from gateway.model.message import Envelope
from gateway.model.partner import Partner
from gateway.model.peer import Identification, Peer
from gateway.model.verdict import Refuse, Relay, Verdict
from gateway.policy.decide import decide
from gateway.relay import House


def describe_classification(found: Classification) -> dict[str, Any]:
    """A classification as `classify --json` gives it (design section 11)."""
    return {
        "level": found.level.word,
        "regimes": [_describe_regime(regime) for regime in found.regimes],
        "unreadable": [
            {"place": part.place, "reason": part.reason} for part in found.unreadable
        ],
    }


def _describe_regime(regime: RegimeFinding) -> dict[str, Any]:
    return {
        "id": regime.id,
        "level": regime.level.word,
        "score": regime.score,
        "findings": [
            {
                "rule": finding.rule,
                "place": finding.place,
                "count": finding.count,
                "weight": finding.weight,
            }
            for finding in regime.findings
        ],
    }


def describe_job(job: Job) -> dict[str, Any]:
    """A job for `queue list`: no reverse-path, no subject, no content."""
    return {
        "job": job.id,
        "message": job.message,
        "municipality": job.municipality,
        "kind": job.kind.value,
        "state": job.state.value,
        "recipients": [
            {
                "address": str(r.mailbox),
                "status": r.status.value,
                "uncertain": r.uncertain,
            }
            for r in job.recipients
        ],
        "regimes": sorted(job.regimes),
        "partner": job.partner,
        "attempts": job.attempts,
        "next_attempt_at": job.next_attempt_at.isoformat(),
        "expires_at": job.expires_at.isoformat(),
        "cause": job.last_cause,
        "hold": job.hold_code,
    }


def describe_partner(partner: Partner) -> dict[str, Any]:
    """A registration for `partners show`."""
    route = partner.route
    return {
        "id": partner.id,
        "municipality": partner.municipality,
        "name": partner.name,
        "state": partner.state.value,
        "roles": sorted(partner.roles),
        "domains": sorted(str(domain) for domain in partner.domains),
        "mailboxes": [
            {"address": str(box.mailbox), "regimes": sorted(box.regimes)}
            for box in partner.mailboxes
        ],
        "verified_on": _iso(partner.verified_on),
        "valid_until": _iso(partner.valid_until),
        "route": {
            "method": route.method.value,
            "host": route.host,
            "port": route.port,
            "least": route.least.name.lower(),
            "requires": route.requires.value,
            "pins": sorted(pin.spki_sha256 for pin in route.pins),
            "vouched_hosts": sorted(str(host) for host in route.vouched_hosts),
        },
        "digest": partner.digest,
    }


def _iso(day: Any) -> str | None:
    return None if day is None else day.isoformat()


class StoredRecord(Protocol):
    """A record of evidence as the store keeps it."""

    @property
    def leaf(self) -> bytes:
        """Canonical JSON, as it stands in the tree."""
        ...

    @property
    def openings(self) -> bytes | None:
        """JSON; None when erased."""
        ...

    @property
    def index(self) -> int | None:
        """Place in the tree; None when it has none yet."""
        ...


def describe_records(records: Iterable[StoredRecord]) -> list[dict[str, Any]]:
    """Evidence records with their openings, in the order they were committed."""
    described = []
    for record in records:
        leaf = json.loads(record.leaf)
        opened = {} if record.openings is None else json.loads(record.openings)
        described.append(
            {
                "event": leaf["event"],
                "at": leaf["at"],
                "index": record.index,
                "record": leaf["id"],
                "message": leaf["message"],
                "erased": record.openings is None,
                "facts": {
                    name: opening["value"]
                    for name, opening in opened.items()
                    if name != "content_key" and _is_plain(opening["value"])
                },
            }
        )
    return described


def _is_plain(value: Any) -> bool:
    """Whether it is a value itself, not the commitments to the items of a list."""
    return value is None or isinstance(value, str | int | bool)


async def explain_route(
    address: Mailbox,
    regime: RegimeId | None,
    municipality: MunicipalityId,
    house: House,
) -> dict[str, Any]:
    """What would happen to a message for this address, and why (design section 11).

    Args:
        address: The recipient.
        regime: The message would be `certain` of this regime; None: nothing sensitive.
        municipality: Whose mail it would be.
        house: Policy and doors; DNS is asked, no mail is sent.
    """
    ports, policy = house.ports, house.policy
    owner = policy.municipalities[municipality]
    sender = Mailbox("postmaster", min(owner.sender_domains))
    envelope = Envelope(ReversePath(sender), (address,))
    found = Classification(Level.NONE, ())
    if regime is not None:
        certain = RegimeFinding(regime, Level.CERTAIN, 0, ())
        found = Classification(Level.CERTAIN, (certain,))
    peer = Peer(
        address="",
        helo="",
        extended=True,
        tls=None,
        client=ClientId("route-explain"),
        municipality=municipality,
        sender_domains=owner.sender_domains,
        identified_by=Identification.NETWORK,
    )
    facts = await ports.facts.load(envelope, municipality, found)
    document = Document((), authors=(sender,))
    today = ports.now().date()
    (verdict,) = decide(found, envelope, peer, document, facts, policy, today)
    partner = facts[address].partner
    answer = {
        "address": str(address),
        "partner": None if partner is None else partner.id,
        "regime": regime,
        **_describe_verdict(verdict),
        "route": None,
        "hosts": [],
    }
    if isinstance(verdict, Relay):
        answer |= await _look_at_route(verdict, address, house)
    return answer


def _describe_verdict(verdict: Verdict) -> dict[str, Any]:
    if isinstance(verdict, Relay):
        return {"verdict": "relay", "code": None, "rule": verdict.row}
    word = "refuse" if isinstance(verdict, Refuse) else "hold"
    return {
        "verdict": word,
        "code": verdict.reason.code,
        "rule": verdict.row,
        "parameters": dict(verdict.reason.parameters),
    }


async def _look_at_route(
    verdict: Relay, address: Mailbox, house: House
) -> Mapping[str, Any]:
    route = verdict.route
    destination = await house.ports.resolver.fetch_destination(route, address.domain)
    hops = plan(route, destination, house.allow_ranges, house.own_addresses)
    described: dict[str, Any] = {
        "route": {
            "method": route.method.value,
            "host": route.host,
            "port": route.port,
            "least": route.least.name.lower(),
            "sealed": False,
        },
    }
    if isinstance(hops, NoHop):
        described["route"] |= {
            "code": hops.code,
            "status": hops.status.value,
            "why": hops.detail,
        }
        described["hosts"] = _describe_hosts(destination, ())
        return described
    described["hosts"] = _describe_hosts(destination, hops)
    return described


def _describe_hosts(
    destination: Destination, hops: Sequence[Hop]
) -> list[dict[str, Any]]:
    usable = {hop.host: hop for hop in hops}
    if not isinstance(destination, MxDestination):
        return [_describe_hop(hop, None, hop.dnssec) for hop in hops]
    described = []
    for host in destination.hosts:
        hop = usable.get(host.name.name)
        tlsa = _word(host.tlsa) if host.tlsa is not None else "not asked"
        if hop is None:
            described.append(
                {
                    "name": host.name.name,
                    "dnssec": _word(host.addresses),
                    "tlsa": tlsa,
                    "sts": None,
                    "assurance": None,
                    "grade": None,
                    "why": "not usable",
                }
            )
        else:
            described.append(_describe_hop(hop, tlsa, _word(host.addresses)))
    return described


def _describe_hop(hop: Hop, tlsa: str | None, dnssec: str) -> dict[str, Any]:
    assurance, why = {
        DaneDemand: (Assurance.AUTHENTICATED, "DANE"),
        PinDemand: (Assurance.AUTHENTICATED, "pin"),
        TlsDemand: (Assurance.ENCRYPTED, "TLS"),
        Opportunistic: (Assurance.NONE, "opportunistic"),
    }[type(hop.demand)]
    return {
        "name": hop.host,
        "dnssec": dnssec,
        "tlsa": tlsa,
        "sts": None,
        "assurance": assurance.name.lower(),
        "grade": None,
        "why": why,
    }


def _word(lookup: Lookup[Any]) -> str:
    if isinstance(lookup, Unavailable):
        return "bogus" if lookup.bogus else f"unavailable ({lookup.detail})"
    found = "present" if isinstance(lookup, Present) else "absent"
    return f"{found}, {lookup.dnssec.value}"


def describe_trace(
    message: MessageId, records: Iterable[StoredRecord], jobs: Iterable[Job]
) -> dict[str, Any]:
    """All that is known of one message: its evidence and where its jobs stand."""
    return {
        "message": message,
        "records": describe_records(records),
        "jobs": [describe_job(job) for job in jobs],
    }
