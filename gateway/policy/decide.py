"""The decision: one verdict for each recipient, by the first row that matches (pure).

Rows are data (`policies/decision.toml`); here is what each condition means. Nothing is
asked of anybody: registry rows and route facts come in as values. `recheck` holds an
accepted job against the facts of now before each attempt: what became stricter stops
it, nothing ever becomes looser (R6).
"""

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping

from gateway.config import Clock, Municipality, OnUnreadable
from gateway.model.address import AddressError, Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.classification import Classification, Level
from gateway.model.document import Document
from gateway.model.ids import Code, RegimeId, Role
from gateway.model.job import Job, JobKind
from gateway.model.message import Envelope
from gateway.model.partner import Partner, PartnerState, Requires, Route, RouteMethod
from gateway.model.peer import Peer
from gateway.model.verdict import Hold, Reason, Refuse, Relay, Verdict
from gateway.policy.rulebook import Action, Policy, Row
from gateway.ports import RecipientFacts

_BEST_EFFORT = Route(RouteMethod.MX, Assurance.NONE)
_K303, _K304, _K308 = Code("K303"), Code("K304"), Code("K308")


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """All that the rows look at, for one recipient."""

    recipient: Mailbox
    classification: Classification
    envelope: Envelope
    peer: Peer
    document: Document
    facts: RecipientFacts
    policy: Policy
    today: datetime.date

    @property
    def municipality(self) -> Municipality:
        """Whose mail it is."""
        return self.policy.municipalities[self.peer.municipality]

    @property
    def level(self) -> Level:
        """How sensitive."""
        return self.classification.level

    @property
    def partner(self) -> Partner | None:
        """Who has this address, whatever the state."""
        return self.facts.partner


def decide(  # noqa: PLR0913, PLR0917 - the seven things a decision depends on
    classification: Classification,
    envelope: Envelope,
    peer: Peer,
    document_authors: Document,
    facts: Mapping[Mailbox, RecipientFacts],
    policy: Policy,
    today: datetime.date,
) -> tuple[Verdict, ...]:
    """Decide for every recipient.

    Args:
        classification: Of the whole message.
        envelope: Reverse-path and recipients.
        peer: Who handed it over, and the domains it may send for.
        document_authors: The document, for its authors and whether it is automatic.
        facts: One entry for each recipient; a missing one counts as no partner.
        policy: Rows, packs and municipalities.
        today: For the validity of partners.

    Returns:
        One verdict for each recipient, in order.
    """
    return tuple(
        _verdict(
            Case(
                recipient,
                classification,
                envelope,
                peer,
                document_authors,
                facts.get(recipient, RecipientFacts(recipient, None)),
                policy,
                today,
            )
        )
        for recipient in envelope.recipients
    )


def _verdict(case: Case) -> Verdict:
    row = next(row for row in case.policy.rows if _TESTS[row.when](case))
    if row.action is Action.REFUSE:
        return Refuse(case.recipient, row.id, _reason(row, case))
    if row.action is Action.HOLD:
        return Hold(case.recipient, row.id, _reason(row, case))
    return _relay(row, case)


# --- conditions -------------------------------------------------------------


def _sender_not_permitted(case: Case) -> bool:
    """Of a forwarder the sender may be foreign: row 1b looks at what it is about."""
    if case.peer.forwards:
        return False
    faulty = case.document.authors_faulty
    return faulty or _is_sender_foreign(case.envelope, case.peer)


def _author_not_permitted(case: Case) -> bool:
    """Foreign mail passes through a forwarder only, and only harmless (R8, A-46)."""
    if case.peer.forwards:
        harmless = case.level is Level.NONE
        return not harmless and is_foreign(case.envelope, case.peer, case.document)
    return _has_foreign_author(case.envelope, case.peer, case.document)


def is_foreign(envelope: Envelope, peer: Peer, document: Document) -> bool:
    """Whether somebody outside the client's domains sent it or wrote it.

    Authors that cannot be read without doubt are nobody's, so they count as foreign.
    """
    return (
        document.authors_faulty
        or _is_sender_foreign(envelope, peer)
        or _has_foreign_author(envelope, peer, document)
    )


def _is_sender_foreign(envelope: Envelope, peer: Peer) -> bool:
    mailbox = envelope.reverse_path.mailbox
    return mailbox is not None and mailbox.domain not in peer.sender_domains


def _has_foreign_author(envelope: Envelope, peer: Peer, document: Document) -> bool:
    permitted = peer.sender_domains
    if envelope.reverse_path.is_null:
        permitted |= _own_host(peer)
    return any(author.domain not in permitted for author in document.authors)


def _own_host(peer: Peer) -> frozenset[Domain]:
    """The client's host name, which its bounces come from; only under its own domains.

    The name in EHLO is the client's word, so a name elsewhere counts for nothing.
    """
    try:
        host = Domain.parse(peer.helo)
    except AddressError:
        return frozenset()
    own = any(host.name.endswith(f".{domain.name}") for domain in peer.sender_domains)
    return frozenset({host}) if own else frozenset()


def _not_sensitive(case: Case) -> bool:
    return case.level is Level.NONE


def _not_sensitive_to_partner(case: Case) -> bool:
    partner = case.partner
    usable = partner is not None and partner.usable_at(case.today)
    return _not_sensitive(case) and usable


def _own_recipient(case: Case) -> bool:
    return case.recipient.domain in case.municipality.sender_domains


def _no_partner_at(case: Case, level: Level) -> bool:
    return case.partner is None and case.level is level


def _certain_and_no_partner(case: Case) -> bool:
    return _no_partner_at(case, Level.CERTAIN)


def _suspect_and_no_partner(case: Case) -> bool:
    return _no_partner_at(case, Level.SUSPECT)


def _unreadable_and_no_partner(case: Case) -> bool:
    return _no_partner_at(case, Level.UNREADABLE)


def _automatic_and_no_partner(case: Case) -> bool:
    suspect = case.partner is None and case.level >= Level.SUSPECT
    return suspect and case.document.auto_submitted


def _unreadable_and_authenticated_route(case: Case) -> bool:
    return (
        _unreadable_and_no_partner(case)
        and case.municipality.unreadable_authenticated
        and case.facts.authenticated_route
        and case.recipient.domain not in case.policy.consumer_domains
    )


def _unreadable_and_refuse(case: Case) -> bool:
    refuses = case.municipality.unreadable is OnUnreadable.REFUSE
    return _unreadable_and_no_partner(case) and refuses


def _partner_not_usable(case: Case) -> bool:
    return case.partner is not None and not case.partner.usable_at(case.today)


def _role_not_permitted(case: Case) -> bool:
    """Each regime at `certain` must permit a role of the partner; no regime, no bar."""
    certain = case.classification.at_least(Level.CERTAIN)
    return case.partner is not None and any(
        not _permits(regime, case.partner, case.policy) for regime in certain
    )


def _permits(regime: RegimeId, partner: Partner, policy: Policy) -> bool:
    pack = policy.packs.get(regime)
    return pack is not None and not pack.permitted_roles.isdisjoint(partner.roles)


def _always(_case: Case) -> bool:
    return True


_TESTS: Mapping[str, Callable[[Case], bool]] = {
    "sender-not-permitted": _sender_not_permitted,
    "author-not-permitted": _author_not_permitted,
    "not-sensitive-to-partner": _not_sensitive_to_partner,
    "not-sensitive": _not_sensitive,
    "own-recipient": _own_recipient,
    "automatic-and-no-partner": _automatic_and_no_partner,
    "certain-and-no-partner": _certain_and_no_partner,
    "suspect-and-no-partner": _suspect_and_no_partner,
    "unreadable-and-authenticated-route": _unreadable_and_authenticated_route,
    "unreadable-and-refuse": _unreadable_and_refuse,
    "unreadable-and-no-partner": _unreadable_and_no_partner,
    "partner-not-usable": _partner_not_usable,
    "role-not-permitted": _role_not_permitted,
    "always": _always,
}


# --- verdicts ---------------------------------------------------------------


def _relay(row: Row, case: Case) -> Relay:
    """Relay; without a usable partner the best-effort route with the row's least."""
    partner = None
    if row.action is Action.RELAY_OWN:
        return Relay(case.recipient, row.id, case.municipality.route)
    route = _BEST_EFFORT
    if row.action is Action.RELAY_PARTNER and case.partner is not None:
        partner, route = case.partner, case.partner.route
    regimes = _carried(case)
    packs = (case.policy.packs[r] for r in regimes if r in case.policy.packs)
    least = max((route.least, row.least, *(pack.least for pack in packs)))
    return Relay(
        recipient=case.recipient,
        row=row.id,
        route=dataclasses.replace(route, least=least),
        partner=None if partner is None else partner.id,
        regimes=regimes,
    )


def _carried(case: Case) -> frozenset[RegimeId]:
    """Regimes that go with the job: the certain ones, and suspected ones that fit.

    A suspected regime that does not permit the partner's role does not bar the message
    now, and must not at the re-check either.
    """
    certain = case.classification.at_least(Level.CERTAIN)
    suspected = case.classification.at_least(Level.SUSPECT)
    return certain | {
        regime
        for regime in suspected
        if case.partner is None or _permits(regime, case.partner, case.policy)
    }


def _reason(row: Row, case: Case) -> Reason:
    assert row.code is not None  # noqa: S101 - checked when the rows were parsed
    match row.code:
        case "K301" | "K302" | "K308":
            return Reason(row.code, tuple(_about_recipient(case)))
        case "K303":
            return Reason(row.code, _about_state(case.partner, case.today))
        case "K304":
            certain = case.classification.at_least(Level.CERTAIN)
            return Reason(row.code, _about_roles(certain, case.partner, case.policy))
        case _:
            return Reason(row.code)


def _about_recipient(case: Case) -> Iterable[tuple[str, str]]:
    private = case.recipient.domain in case.policy.consumer_domains
    yield "recipient_kind", "person" if private else "unknown"
    if case.facts.resembles:
        yield "resembles", case.facts.resembles


def _about_state(
    partner: Partner | None, today: datetime.date
) -> tuple[tuple[str, str], ...]:
    if partner is None:
        return (("partner", "-"), ("state", "unregistered"))
    expired = partner.valid_until is not None and today > partner.valid_until
    if partner.state is PartnerState.VERIFIED and expired:
        return (("partner", partner.name), ("state", "expired"))
    return (("partner", partner.name), ("state", partner.state.value))


def _about_roles(
    regimes: Iterable[RegimeId], partner: Partner | None, policy: Policy
) -> tuple[tuple[str, str], ...]:
    """Names what bars it: regimes, and the roles that all of them permit."""
    packs = [policy.packs[r] for r in sorted(regimes) if r in policy.packs]
    permitted: set[Role] = set(packs[0].permitted_roles) if packs else set()
    for pack in packs:
        permitted &= pack.permitted_roles
    return (
        ("partner", "-" if partner is None else partner.name),
        ("regime", ", ".join(pack.title.nl for pack in packs)),
        ("regime_en", ", ".join(pack.title.en for pack in packs)),
        ("roles", ", ".join(sorted(permitted)) or "-"),
    )


# --- after acceptance -------------------------------------------------------


def recheck(
    job: Job,
    facts: Mapping[Mailbox, RecipientFacts],
    policy: Policy,
    today: datetime.date,
) -> Reason | None:
    """Whether an accepted job may still go: stricter than at acceptance stops (R6).

    Args:
        job: About to be attempted.
        facts: Of its open recipients, as they are now.
        policy: As it is now.
        today: For the validity of partners.

    Returns:
        The reason to stop, or None.
    """
    if job.kind is JobKind.NOTICE or job.level is Level.NONE:
        return None
    if job.partner is None:
        return _recheck_without_partner(job, facts, policy, today)
    for recipient in job.open_recipients:
        known = facts.get(recipient)
        partner = None if known is None else known.partner
        if partner is None or partner.id != job.partner or not partner.usable_at(today):
            return Reason(_K303, _about_state(partner, today))
        barred = [r for r in job.regimes if not _permits(r, partner, policy)]
        if job.level is Level.CERTAIN and barred:
            return Reason(_K304, _about_roles(barred, partner, policy))
        if _asks_more(partner.route, job.route):
            return Reason(_K303, (("partner", partner.name), ("state", "changed")))
    return None


def _recheck_without_partner(
    job: Job,
    facts: Mapping[Mailbox, RecipientFacts],
    policy: Policy,
    today: datetime.date,
) -> Reason | None:
    """Row 3 goes over the municipality's own route; row 5b may have been closed.

    Row 5b never carries more than an unreadable part. A domain that became a partner's
    meanwhile must meet what the partner's registration asks.
    """
    municipality = policy.municipalities.get(job.municipality)
    if municipality is None:
        return Reason(_K308, (("recipient_kind", "unknown"),))
    for recipient in job.open_recipients:
        if recipient.domain in municipality.sender_domains:
            if _asks_more(municipality.route, job.route):
                about = (("partner", municipality.name), ("state", "changed"))
                return Reason(_K303, about)
            continue
        known = facts.get(recipient)
        partner = None if known is None else known.partner
        if partner is not None and (
            not partner.usable_at(today) or _asks_more(partner.route, job.route)
        ):
            return Reason(_K303, _about_state(partner, today))
        private = recipient.domain in policy.consumer_domains
        closed = not municipality.unreadable_authenticated
        if private or closed or job.level is not Level.UNREADABLE:
            kind = "person" if private else "unknown"
            return Reason(_K308, (("recipient_kind", kind),))
    return None


def _asks_more(now: Route, then: Route) -> bool:
    """Whether the registered route asks something that the job's route does not.

    Another next hop also counts: the old one is no longer the partner's.
    """
    moved = (now.method, now.host, now.port) != (then.method, then.host, then.port)
    other_pins = bool(now.pins) and now.pins != then.pins
    mechanism = now.requires is not Requires.ANY and now.requires is not then.requires
    narrower = not then.vouched_hosts <= now.vouched_hosts
    return moved or now.least > then.least or other_pins or mechanism or narrower


def clock_of(regimes: Iterable[RegimeId], policy: Policy) -> Clock:
    """When to try again, warn and give up: per field the strictest of all that count.

    Args:
        regimes: Of the job; empty for ordinary mail and notices.
        policy: Its packs and the default clock.
    """
    packs = (policy.packs[r].clock for r in regimes if r in policy.packs)
    clocks = [policy.clock, *packs]
    return Clock(
        retry=min((clock.retry for clock in clocks), key=lambda retry: retry[0]),
        warn_after=min(clock.warn_after for clock in clocks),
        expire_after=min(clock.expire_after for clock in clocks),
    )
