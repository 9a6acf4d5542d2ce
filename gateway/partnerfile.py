"""Partner files: TOML to registrations, and the difference with what is registered.

Pure: reading the file and writing the registry are elsewhere. The whole file is refused
for one fault, so that nothing half-done stays.
"""

import dataclasses
import datetime
import enum
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.config import parse_route
from gateway.model.address import AddressError, Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.errors import ConfigError, RegistryError
from gateway.model.ids import MunicipalityId, PartnerId, RegimeId, Role
from gateway.model.partner import (
    Partner,
    PartnerMailbox,
    PartnerState,
)

_KEYS = {
    "id": str,
    "name": str,
    "roles": list,
    "domains": list,
    "state": str,
    "verified_on": datetime.date,
    "valid_until": datetime.date,
    "route": dict,
    "mailbox": list,
}
_REQUIRED = ("id", "name", "roles", "domains", "state")


@dataclasses.dataclass(frozen=True, slots=True)
class PartnerFile:
    """One municipality's partners as the file lists them; the whole registry of it."""

    municipality: MunicipalityId
    partners: tuple[Partner, ...]


class ChangeKind(enum.Enum):
    """What applying the file does to one partner."""

    ADDED = "added"
    CHANGED = "changed"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One partner that differs; `before` or `after` may be None, `fields` differ."""

    kind: ChangeKind
    before: Partner | None
    after: Partner
    fields: tuple[str, ...]


def parse_partner_file(
    text: str, municipalities: Iterable[MunicipalityId], roles: frozenset[Role]
) -> PartnerFile:
    """Parse a partner file whole.

    Args:
        text: The TOML text.
        municipalities: Those that are configured.
        roles: Roles that a rule pack knows; another one is a typing error.

    Returns:
        The registrations; their `digest` is still empty, the store computes it.

    Raises:
        RegistryError: Naming partner, key, problem and remedy.
    """
    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError("file", f"is not TOML: {error}", "correct it") from error
    owner = MunicipalityId(str(root.pop("municipality", "")))
    if owner not in set(municipalities):
        known = ", ".join(sorted(municipalities))
        raise RegistryError("municipality", f"is {owner!r}", f"write one of: {known}")
    entries = root.pop("partner", [])
    for key in root:
        raise RegistryError(key, "is not a known key", "correct or remove it")
    if not isinstance(entries, list) or not entries:
        raise RegistryError("partner", "is missing", "add a [[partner]]")
    partners = tuple(
        _partner(f"partner[{n}]", entry, owner, roles)
        for n, entry in enumerate(entries, 1)
    )
    _check_unique(partners)
    return PartnerFile(owner, partners)


def _partner(
    place: str, entry: Any, owner: MunicipalityId, roles: frozenset[Role]
) -> Partner:
    _check_keys(place, entry)
    place = f"{place} {entry['id']}"
    try:
        route = parse_route(f"{place}.route", entry.get("route", {}))
    except ConfigError as error:
        raise RegistryError(error.place, error.problem, error.remedy) from error
    if route.least is not Assurance.AUTHENTICATED:
        raise RegistryError(
            f"{place}.route.least", "is too low for a partner", "remove it (INV-2)"
        )
    state = _state(place, entry["state"])
    verified_on = entry.get("verified_on")
    if state is PartnerState.VERIFIED and verified_on is None:
        raise RegistryError(
            f"{place}.verified_on", "is missing", "write the day it was verified"
        )
    return Partner(
        id=PartnerId(entry["id"]),
        municipality=owner,
        name=entry["name"],
        roles=_roles(place, entry["roles"], roles),
        domains=frozenset(_domain(place, text) for text in entry["domains"]),
        mailboxes=tuple(_mailbox(place, box) for box in entry.get("mailbox", [])),
        state=state,
        verified_on=verified_on,
        valid_until=entry.get("valid_until"),
        route=route,
        digest="",
    )


def _check_keys(place: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise RegistryError(place, "is not a table", "write it as [[partner]]")
    for key, value in entry.items():
        if key not in _KEYS:
            raise RegistryError(
                f"{place}.{key}", "is not a known key", "correct or remove it"
            )
        kind = _KEYS[key]
        if not isinstance(value, kind) or isinstance(value, datetime.datetime):
            raise RegistryError(
                f"{place}.{key}",
                f"is of type {type(value).__name__}",
                f"write a {kind.__name__}",
            )
    for key in _REQUIRED:
        if not entry.get(key):
            raise RegistryError(f"{place}.{key}", "is missing or empty", f"add {key}")


def _state(place: str, text: str) -> PartnerState:
    try:
        return PartnerState(text)
    except ValueError:
        states = ", ".join(state.value for state in PartnerState)
        raise RegistryError(
            f"{place}.state", f"is {text!r}", f"write one of: {states}"
        ) from None


def _roles(place: str, names: list[Any], known: frozenset[Role]) -> frozenset[Role]:
    roles = frozenset(Role(str(name)) for name in names)
    if roles - known:
        unknown = ", ".join(sorted(roles - known))
        raise RegistryError(
            f"{place}.roles",
            f"has unknown role {unknown}",
            f"write some of: {', '.join(sorted(known))}",
        )
    return roles


def _domain(place: str, text: Any) -> Domain:
    try:
        return Domain.parse(str(text))
    except AddressError as error:
        raise RegistryError(
            f"{place}.domains", str(error), "write full domain names"
        ) from error


def _mailbox(place: str, value: Any) -> PartnerMailbox:
    if not isinstance(value, dict) or set(value) != {"address", "regimes"}:
        raise RegistryError(
            f"{place}.mailbox",
            "is not a table with address and regimes",
            "write both and nothing else",
        )
    regimes = value["regimes"]
    if not isinstance(regimes, list) or not all(isinstance(r, str) for r in regimes):
        raise RegistryError(
            f"{place}.mailbox.regimes", "is not a list of texts", 'write ["wvggz"]'
        )
    try:
        mailbox = Mailbox.parse(str(value["address"]))
    except AddressError as error:
        raise RegistryError(
            f"{place}.mailbox.address", str(error), "write one plain mail address"
        ) from error
    return PartnerMailbox(mailbox, frozenset(map(RegimeId, regimes)))


def _check_unique(partners: tuple[Partner, ...]) -> None:
    ids: set[PartnerId] = set()
    domains: dict[Domain, PartnerId] = {}
    for partner in partners:
        if partner.id in ids:
            raise RegistryError(partner.id, "is listed twice", "merge the entries")
        ids.add(partner.id)
        for domain in partner.domains:
            if domain in domains:
                raise RegistryError(
                    f"{partner.id}.domains",
                    f"has {domain}, which {domains[domain]} has too",
                    "a domain belongs to one partner",
                )
            domains[domain] = partner.id


def differ(
    file: PartnerFile, registered: Mapping[PartnerId, Partner]
) -> tuple[Change, ...]:
    """What applying the file would change; nothing when it was applied already.

    A registered partner that the file no longer lists is ended, not forgotten.
    """
    changes = []
    for partner in file.partners:
        before = registered.get(partner.id)
        if before is None:
            changes.append(Change(ChangeKind.ADDED, None, partner, ()))
            continue
        fields = tuple(
            field.name
            for field in dataclasses.fields(Partner)
            if field.name != "digest"
            and getattr(before, field.name) != getattr(partner, field.name)
        )
        if fields:
            changes.append(Change(ChangeKind.CHANGED, before, partner, fields))
    listed = {partner.id for partner in file.partners}
    for partner_id, before in sorted(registered.items()):
        if partner_id not in listed and before.state is not PartnerState.ENDED:
            # An ended one keeps its row, not its domains: another may get them.
            after = dataclasses.replace(
                before, state=PartnerState.ENDED, domains=frozenset()
            )
            changes.append(Change(ChangeKind.ENDED, before, after, ("state",)))
    return tuple(changes)
