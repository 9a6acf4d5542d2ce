"""The decision table of requirements B.2, whole: every combination against `plan`."""

import itertools
import pathlib

from gateway.delivery.plan import NoHop, plan
from gateway.model.address import Domain
from gateway.model.assurance import Assurance
from gateway.model.destination import (
    Absent,
    DaneDemand,
    Dnssec,
    MxDestination,
    MxHost,
    Opportunistic,
    Pin,
    PinDemand,
    Present,
    Tlsa,
    TlsDemand,
    Unavailable,
)
from gateway.model.partner import Requires, Route, RouteMethod
from gateway.model.reply import Status

DOMAIN, HOST = Domain("example.nl"), Domain("mx1.example.nl")
USABLE = frozenset({Tlsa(3, 1, 1, bytes(32))})
UNUSABLE = frozenset({Tlsa(1, 1, 1, bytes(32))})
PINS = frozenset({Pin("ab" * 32)})
SECURE, INSECURE = Dnssec.SECURE, Dnssec.INSECURE
BOGUS = Unavailable(bogus=True, detail="SERVFAIL, EDE 6")
ERROR = Unavailable(bogus=False, detail="time-out")
ADDRESSES = ("2620:fe::fe", "9.9.9.9")

MX = {
    "secure": Present((HOST,), SECURE, 300),
    "insecure": Present((HOST,), INSECURE, 300),
    "no-secure": Absent(SECURE, nxdomain=False, ttl_s=300),
    "no-insecure": Absent(INSECURE, nxdomain=False, ttl_s=300),
    "nxdomain": Absent(SECURE, nxdomain=True, ttl_s=300),
    "null": Absent(SECURE, nxdomain=False, ttl_s=300),
    "bogus": BOGUS,
    "error": ERROR,
}
HOSTS = {
    "secure": Present(ADDRESSES, SECURE, 300),
    "insecure": Present(ADDRESSES, INSECURE, 300),
    "none": Absent(SECURE, nxdomain=False, ttl_s=300),
    "bogus": BOGUS,
    "error": ERROR,
}
TLSA = {
    "not-asked": None,
    "usable": Present(USABLE, SECURE, 300),
    "unusable": Present(UNUSABLE, SECURE, 300),
    "insecure": Present(USABLE, INSECURE, 300),
    "none": Absent(SECURE, nxdomain=True, ttl_s=300),
    "bogus": BOGUS,
    "error": ERROR,
}
YES_NO = ("no", "yes")
COLUMNS = (
    tuple(MX),
    tuple(HOSTS),
    tuple(TLSA),
    YES_NO,
    YES_NO,
    tuple(a.name.lower() for a in Assurance),
    tuple(r.value for r in Requires),
)
TABLE = pathlib.Path(__file__).with_name("plan_table.txt")


def rows() -> list[tuple[tuple[str, ...], str]]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    parts = [line.split(maxsplit=7) for line in lines if line and line[0] != "#"]
    return [(tuple(part[:7]), part[7]) for part in parts]


def fits(row: tuple[str, ...], case: tuple[str, ...]) -> bool:
    return all(
        cell == "*" or value in cell.split("|")
        for cell, value in zip(row, case, strict=True)
    )


def planned(case: tuple[str, ...]) -> str:
    mx, host, tlsa, vouched, pins, least, requires = case
    name = DOMAIN if mx.startswith("no-") else HOST
    hosts = (MxHost(name, 10, HOSTS[host], TLSA[tlsa], name),)
    destination = MxDestination(DOMAIN, MX[mx], hosts, null_mx=mx == "null")
    route = Route(
        method=RouteMethod.MX,
        least=Assurance[least.upper()],
        pins=PINS if pins == "yes" else frozenset(),
        requires=Requires(requires),
        vouched_hosts=frozenset({name}) if vouched == "yes" else frozenset(),
    )
    answer = plan(route, destination, (), frozenset())
    return shown_no_hop(answer) if isinstance(answer, NoHop) else shown(answer, pins)


def shown_no_hop(answer: NoHop) -> str:
    word = {Status.DEFERRED: "later", Status.FAILED: "failed"}[answer.status]
    result = answer.tls_result.value if answer.tls_result else "-"
    return f"{word} {answer.code} {answer.cause.value} {result}"


def shown(answer, pins: str) -> str:
    (hop,) = answer
    assert hop.addresses == ADDRESSES
    assert hop.port == 25
    match hop.demand:
        case DaneDemand(records=records, pins=demanded):
            assert records == USABLE
            assert demanded == (PINS if pins == "yes" else frozenset())
            return "dane+pin" if demanded else "dane"
        case PinDemand(pins=demanded):
            assert demanded == PINS
            return "pin"
        case TlsDemand():
            return "tls"
        case Opportunistic():
            return "any"


def test_every_combination_gives_what_the_table_says() -> None:
    table = rows()
    decided = set()
    wrong = []
    for case in itertools.product(*COLUMNS):
        row = next((row for row in table if fits(row[0], case)), None)
        assert row is not None, f"no row for {case}"
        decided.add(row)
        if planned(case) != row[1]:
            wrong.append((case, row[1], planned(case)))
    assert wrong == []
    assert [row for row in table if row not in decided] == []


def test_nothing_less_than_authenticated_comes_out_where_it_is_asked() -> None:
    """INV-2, read from the table itself and not from the code."""
    for case in itertools.product(*COLUMNS):
        if case[5] == "authenticated" or case[6] != "any":
            assert planned(case) not in {"tls", "any"}


def test_a_fault_of_dns_never_gives_a_hop_that_silence_would_not() -> None:
    """INV-3: with `bogus` or `error` anywhere, only a pin that asks no DNS passes."""
    for case in itertools.product(*COLUMNS):
        if {"bogus", "error"} & set(case[:2]):
            assert planned(case).startswith(("later", "failed"))
        if case[1] == "secure" and case[2] in {"bogus", "error"}:
            assert planned(case).startswith(("later", "failed", "pin"))
