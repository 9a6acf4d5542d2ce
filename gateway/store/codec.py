"""Jobs and partners as rows and JSON, and back.

Of a job the columns hold what the queue looks for; who it is from and for, over which
route and because of what stands in one JSON text that is sealed. What comes back equals
what went in: addresses are not parsed again, they were when they came into the house.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785
from sqlalchemy.engine import RowMapping

from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.classification import Level
from gateway.model.destination import Pin
from gateway.model.ids import (
    Code,
    Digest,
    JobId,
    MessageId,
    MunicipalityId,
    PartnerId,
    RegimeId,
    Role,
)
from gateway.model.job import Job, JobKind, JobRecipient, JobState, RecipientStatus
from gateway.model.message import (
    NO_MESSAGE_WISH,
    NO_RECIPIENT_WISH,
    Body,
    MessageWish,
    Notify,
    RecipientWish,
    Ret,
)
from gateway.model.partner import (
    Partner,
    PartnerMailbox,
    PartnerState,
    Requires,
    Route,
    RouteMethod,
)
from gateway.store.tables import instant, microseconds

_DUE_BY_NEXT_ATTEMPT = frozenset({JobState.READY, JobState.WAITING})


def job_columns(job: Job) -> dict[str, Any]:
    """The columns that every write of a job sets; the lease's own are not among them.

    `due_at` follows from the state here for all states but LEASED.
    """
    columns: dict[str, Any] = {
        "state": job.state.value,
        "level": job.level.word,
        "policy": job.policy,
        "next_attempt_at": microseconds(job.next_attempt_at),
        "expires_at": microseconds(job.expires_at),
        "attempts": job.attempts,
        "crashes": job.crashes,
        "unknowns": job.unknowns,
        "intent_at": None if job.intent_at is None else microseconds(job.intent_at),
        "hold_code": job.hold_code,
        "delay_notice_sent": job.delay_notice_sent,
        "last_cause": job.last_cause,
    }
    if job.state is not JobState.LEASED:
        due = job.state in _DUE_BY_NEXT_ATTEMPT
        columns["due_at"] = columns["next_attempt_at"] if due else None
    return columns


def job_identity(job: Job) -> dict[str, Any]:
    """The columns that only the first write of a job sets."""
    return {
        "id": job.id,
        "message_id": job.message,
        "municipality": job.municipality,
        "kind": job.kind.value,
        "size_octets": job.size_octets,
        "accepted_at": microseconds(job.accepted_at),
        "lease_token": job.lease_token,
    }


def job_secret(job: Job) -> bytes:
    """What of a job must be sealed, as JSON."""
    return json.dumps(
        {
            "reverse_path": _mailbox_or_none(job.reverse_path.mailbox),
            "recipients": [
                [*_mailbox(r.mailbox), r.status.value, r.uncertain]
                for r in job.recipients
            ],
            "route": _route(job.route),
            "partner": job.partner,
            "regimes": sorted(job.regimes),
            "body": job.body.value,
            "smtputf8": job.smtputf8,
            "wish": _wish(job.wish),
            "recipient_wishes": [_recipient_wish(r.wish) for r in job.recipients],
        },
        separators=(",", ":"),
    ).encode()


def parse_job(row: RowMapping, secret: bytes) -> Job:
    """The job of a row and its unsealed part."""
    sealed = json.loads(secret)
    # Rows of before version 0.2 know no wishes.
    wishes = sealed.get("recipient_wishes") or [None] * len(sealed["recipients"])
    return Job(
        id=JobId(row["id"]),
        message=MessageId(row["message_id"]),
        municipality=MunicipalityId(row["municipality"]),
        kind=JobKind(row["kind"]),
        state=JobState(row["state"]),
        reverse_path=ReversePath(
            None if sealed["reverse_path"] is None else _parse(*sealed["reverse_path"])
        ),
        recipients=tuple(
            JobRecipient(
                _parse(local, domain),
                RecipientStatus(status),
                uncertain,
                _parse_recipient_wish(wish),
            )
            for (local, domain, status, uncertain), wish in zip(
                sealed["recipients"], wishes, strict=True
            )
        ),
        route=_parse_route(sealed["route"]),
        partner=None if sealed["partner"] is None else PartnerId(sealed["partner"]),
        level=Level[row["level"].upper()],
        regimes=frozenset(map(RegimeId, sealed["regimes"])),
        body=Body(sealed["body"]),
        smtputf8=sealed["smtputf8"],
        wish=_parse_wish(sealed.get("wish")),
        **_plain_fields(row),
    )


def _plain_fields(row: RowMapping) -> dict[str, Any]:
    intent_at, hold_code = row["intent_at"], row["hold_code"]
    return {
        "size_octets": row["size_octets"],
        "policy": Digest(row["policy"]),
        "accepted_at": instant(row["accepted_at"]),
        "next_attempt_at": instant(row["next_attempt_at"]),
        "expires_at": instant(row["expires_at"]),
        "attempts": row["attempts"],
        "crashes": row["crashes"],
        "unknowns": row["unknowns"],
        "lease_token": row["lease_token"],
        "intent_at": None if intent_at is None else instant(intent_at),
        "hold_code": None if hold_code is None else Code(hold_code),
        "delay_notice_sent": bool(row["delay_notice_sent"]),
        "last_cause": row["last_cause"],
    }


def _wish(wish: MessageWish) -> dict[str, Any] | None:
    if wish == NO_MESSAGE_WISH:
        return None
    return {
        "ret": None if wish.ret is None else wish.ret.value,
        "envid": wish.envid,
        "requiretls": wish.requiretls,
    }


def _parse_wish(value: Mapping[str, Any] | None) -> MessageWish:
    if value is None:
        return NO_MESSAGE_WISH
    ret = None if value["ret"] is None else Ret(value["ret"])
    return MessageWish(ret, value["envid"], value["requiretls"])


def _recipient_wish(wish: RecipientWish) -> dict[str, Any] | None:
    if wish == NO_RECIPIENT_WISH:
        return None
    notify = wish.notify
    return {
        "notify": None if notify is None else sorted(word.value for word in notify),
        "orcpt": wish.orcpt,
    }


def _parse_recipient_wish(value: Mapping[str, Any] | None) -> RecipientWish:
    if value is None:
        return NO_RECIPIENT_WISH
    notify = value["notify"]
    wanted = None if notify is None else frozenset(map(Notify, notify))
    return RecipientWish(wanted, value["orcpt"])


def _mailbox(mailbox: Mailbox) -> tuple[str, str]:
    return mailbox.local_part, mailbox.domain.name


def _mailbox_or_none(mailbox: Mailbox | None) -> tuple[str, str] | None:
    return None if mailbox is None else _mailbox(mailbox)


def _parse(local_part: str, domain: str) -> Mailbox:
    return Mailbox(local_part, Domain(domain))


def _route(route: Route) -> dict[str, Any]:
    return {
        "method": route.method.value,
        "least": route.least.name.lower(),
        "host": route.host,
        "port": route.port,
        "pins": sorted(pin.spki_sha256 for pin in route.pins),
        "requires": route.requires.value,
        "vouched_hosts": sorted(host.name for host in route.vouched_hosts),
    }


def _parse_route(value: Mapping[str, Any]) -> Route:
    return Route(
        method=RouteMethod(value["method"]),
        least=Assurance[value["least"].upper()],
        host=value["host"],
        port=value["port"],
        pins=frozenset(map(Pin, value["pins"])),
        requires=Requires(value["requires"]),
        vouched_hosts=frozenset(map(Domain, value["vouched_hosts"])),
    )


def partner_json(partner: Partner) -> bytes:
    """The canonical registration (RFC 8785): all of it but the digest.

    The order of mailboxes is kept; what has no order is sorted.
    """
    return rfc8785.dumps(
        {
            "id": partner.id,
            "municipality": partner.municipality,
            "name": partner.name,
            "roles": sorted(partner.roles),
            "domains": sorted(domain.name for domain in partner.domains),
            "mailboxes": [
                {"mailbox": list(_mailbox(m.mailbox)), "regimes": sorted(m.regimes)}
                for m in partner.mailboxes
            ],
            "state": partner.state.value,
            "verified_on": _date(partner.verified_on),
            "valid_until": _date(partner.valid_until),
            "route": _route(partner.route),
        }
    )


def partner_digest(partner: Partner) -> Digest:
    """SHA-256 of the canonical registration."""
    return Digest(hashlib.sha256(partner_json(partner)).hexdigest())


def parse_partner(registration: str) -> Partner:
    """The partner of a stored registration, with its digest."""
    value = json.loads(registration)
    return Partner(
        id=PartnerId(value["id"]),
        municipality=MunicipalityId(value["municipality"]),
        name=value["name"],
        roles=frozenset(map(Role, value["roles"])),
        domains=frozenset(map(Domain, value["domains"])),
        mailboxes=tuple(
            PartnerMailbox(
                _parse(*entry["mailbox"]), frozenset(map(RegimeId, entry["regimes"]))
            )
            for entry in value["mailboxes"]
        ),
        state=PartnerState(value["state"]),
        verified_on=_parse_date(value["verified_on"]),
        valid_until=_parse_date(value["valid_until"]),
        route=_parse_route(value["route"]),
        digest=hashlib.sha256(registration.encode()).hexdigest(),
    )


def _date(date: datetime.date | None) -> str | None:
    return None if date is None else date.isoformat()


def _parse_date(text: str | None) -> datetime.date | None:
    return None if text is None else datetime.date.fromisoformat(text)
