"""Messages in messages (A-40, A-41, INV-6): the partner's Postfix would split them.

Segment borders are certain (`tests.scenarios.border`); each segment is one TLS record.
What is refused is refused after the real end with one reply, the session goes on in
step, and the clean messages between arrive octet for octet: they are all that arrives.
"""

import dataclasses
import itertools
import re

import pytest

from tests import certs
from tests.peers import daemon, gateway, postfix
from tests.scenarios import border, siege

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("smuggling")]

_NUMBER = itertools.count(1)
LINE_ENDS = {"LF": b"\n", "CR": b"\r", "CRLF": b"\r\n", "CRCRLF": b"\r\r\n"}
COMBINATIONS = {
    f"{before}.{after}": LINE_ENDS[before] + b"." + LINE_ENDS[after]
    for before, after in itertools.product(LINE_ENDS, repeat=2)
}
# Of the sixteen these two hold the one real end, CR LF . CR LF.
REAL_ENDS = ("CRLF.CRLF", "CRCRLF.CRLF")
BARE = {name: of for name, of in COMBINATIONS.items() if name not in REAL_ENDS} | {
    "half an end": b"\r\n.\r",
    "CRLF..LF": b"\r\n..\n",
    "LF..CRLF": b"\n..\r\n",
    "CR NUL LF.CRLF": b"\r\0\n.\r\n",
    "CRLF.CR NUL LF": b"\r\n.\r\0\n",
    "LF NUL.LF": b"\n\0.\n",
    "LF.NUL LF": b"\n.\0\n",
    "NUL LF.LF": b"\0\n.\n",
    "LF.LF NUL": b"\n.\n\0",
}
NUL = {
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "NUL.NUL": b"\0.\0",
    "NUL.CRLF": b"\0.\r\n",
    "CRLF.NUL": b"\r\n.\0",
}
_MARGIN = b"ab"
WHAT_FOLLOWS = (
    b"MAIL FROM:<a@gemeente.test>\r\nRCPT TO:<smuggled@ggz.test>\r\nDATA\r\n"
    + siege.compose("smuggled", "smuggled@ggz.test")
    + b".\r\n"
)


def compose() -> tuple[str, bytes]:
    """A clean message with all that transparency can get wrong; its name, and it."""
    name = f"clean{next(_NUMBER)}"
    body = b".\r\n..\r\n.a\r\n \t.\r\n\r\n.\r\n"
    return name, siege.compose(name, body=body)


@dataclasses.dataclass
class Route:
    """The gateway, the partner behind it, and what may arrive there."""

    gateway: gateway.Gateway
    sink: postfix.Postfix
    clean: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def deliver(self, caller: siege.Caller) -> None:
        name, octets = compose()
        caller.deliver(octets)
        self.clean[name] = octets

    def assert_only_clean(self) -> None:
        """The store and the partner have the clean messages, whole, and no other."""
        kept = siege.stored(str(self.gateway.config)).values()
        assert sorted(each.name for each in kept) == sorted(self.clean)

        def over() -> bool:
            found = siege.stored(str(self.gateway.config)).values()
            return all("delivered" in each.events for each in found)

        assert daemon.until(over, 60), self.gateway.log[-3000:]
        assert self.sink.queue() == ()
        arrived = {name_of(d.content): d for d in self.sink.deliveries()}
        assert {name: d.content for name, d in arrived.items()} == self.clean
        assert {d.recipient for d in arrived.values()} <= {"crisis@ggz.test"}
        assert len(self.sink.deliveries()) == len(self.clean)


def name_of(octets: bytes) -> str:
    return re.search(rb"^Message-ID: <(.*)@", octets, re.M)[1].decode()


@pytest.fixture(scope="module")
def route(ca, start_once):
    leaf = certs.issue(ca, ["mx.ggz.test"])
    # The worst that a partner can have: it takes a bare LF for the end of a line.
    sink = start_once(
        postfix.sink(
            "ggz.test",
            credential=leaf,
            transcript=False,
            parameters={"smtpd_forbid_bare_newline": "no"},
        )
    )
    running = start_once(siege.besieged(ca, (sink.address, leaf.pin.spki_sha256)))
    return Route(running, sink)


def test_the_partner_takes_a_bare_lf_for_an_end_and_is_split_where_we_are_not_between(
    start,
):
    sink = start(
        postfix.sink("ggz.test", parameters={"smtpd_forbid_bare_newline": "no"})
    )
    with siege.Caller(sink.address, siege.client(), sink.port) as caller:
        caller.greet(tls=False)
        assert caller.ask("MAIL FROM:<a@gemeente.test>").startswith("250")
        assert caller.ask("RCPT TO:<crisis@ggz.test>").startswith("250")
        assert caller.ask("DATA").startswith("354")
        caller.send(siege.compose("first") + b"\n.\n" + WHAT_FOLLOWS)
        sink.wait_for_deliveries(2)
    names = {name_of(each.octets) for each in sink.deliveries()}
    assert names == {"first", "smuggled"}


def sent_in(caller: siege.Caller, pieces) -> set[tuple[str, str]]:
    """Code and status of the one reply to a message in these segments."""
    caller.begin()
    border.send_in_segments(caller.sock, pieces)
    answer = caller.reply()
    assert caller.ask("NOOP") == "250 2.0.0 OK"  # nothing else was said
    return {(line[:3], line[4:].split(" ")[0]) for line in answer.split("\n")}


@pytest.mark.parametrize(
    ("variants", "reply"), [(BARE, ("554", "5.5.2")), (NUL, ("550", "5.6.0"))]
)
def test_A_40_A_41_what_is_not_the_end_is_refused_in_segments_of_every_size(
    route, variants, reply
):
    before, after = siege.compose("first"), b"\r\n" + WHAT_FOLLOWS
    for name, sequence in variants.items():
        core = _MARGIN + sequence + _MARGIN
        with siege.calling(route.gateway) as caller:
            route.deliver(caller)
            for pieces in border.cuttings(before, core, after):
                assert sent_in(caller, pieces) == {reply}, (name, pieces)
            route.deliver(caller)
    route.assert_only_clean()


@pytest.mark.parametrize("name", ["LF.LF", "CR.CR", "LF.CRLF", "CRLF.LF", "CR.CRLF"])
def test_A_40_the_classic_five_are_refused_with_the_whole_message_cut_in_any_size(
    route, name
):
    whole = siege.compose("first") + b"ab" + BARE[name] + WHAT_FOLLOWS
    with siege.calling(route.gateway) as caller:
        route.deliver(caller)
        for size in range(1, len(whole) + 1):
            answer = sent_in(caller, border.cut(whole, size))
            assert answer == {("554", "5.5.2")}, size
        route.deliver(caller)
    route.assert_only_clean()


def test_A_40_the_real_end_is_seen_once_wherever_a_segment_ends(route):
    """CR LF . CR + LF, and all other ways: two messages, as their sender meant it."""
    for at in range(6):
        first, second = compose(), compose()
        opened = siege.stuffed(first[1]).removesuffix(b".\r\n")
        envelope = (
            b"MAIL FROM:<a@gemeente.test>\r\nRCPT TO:<crisis@ggz.test>\r\nDATA\r\n"
        )
        following = envelope + siege.stuffed(second[1])
        with siege.calling(route.gateway) as caller:
            caller.begin()
            cut_at = len(opened) - 2 + at
            octets = opened + b".\r\n" + following
            border.send_in_segments(caller.sock, (octets[:cut_at], octets[cut_at:]))
            codes = [caller.reply()[:3] for _ in range(5)]
            assert codes == ["250", "250", "250", "354", "250"]
            assert caller.ask("NOOP") == "250 2.0.0 OK"
        route.clean |= dict((first, second))
    route.assert_only_clean()


@pytest.mark.parametrize(
    ("spoilt", "reply"), [(b"\r\r\n.\r\n", "554-5.5.2"), (b"\0\r\n.\r\n", "550-5.6.0")]
)
def test_A_40_A_41_only_the_message_before_the_real_end_is_refused(
    route, spoilt, reply
):
    """What comes behind the one real end is a transaction in its own right."""
    for at in range(len(spoilt) + 1):
        name, octets = compose()
        envelope = (
            b"MAIL FROM:<a@gemeente.test>\r\nRCPT TO:<crisis@ggz.test>\r\nDATA\r\n"
        )
        whole = siege.compose("first") + b"ab" + spoilt
        cut_at = len(whole) - len(spoilt) + at
        whole += envelope + siege.stuffed(octets)
        with siege.calling(route.gateway) as caller:
            caller.begin()
            border.send_in_segments(caller.sock, (whole[:cut_at], whole[cut_at:]))
            assert caller.reply().startswith(reply)
            codes = [caller.reply()[:3] for _ in range(4)]
            assert codes == ["250", "250", "354", "250"]
        route.clean[name] = octets
    route.assert_only_clean()


def test_A_41_a_nul_behind_the_real_end_ends_the_session(route):
    name, octets = compose()
    with siege.calling(route.gateway) as caller:
        caller.begin()
        caller.send(siege.stuffed(octets) + b"\0" + WHAT_FOLLOWS)
        answers = caller.replies()
    route.clean[name] = octets
    assert [answer[:9] for answer in answers] == ["250 2.0.0", "500 5.5.2"]
    route.assert_only_clean()


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\r\n", b"\0\r\n", b"\n\r\n"])
def test_A_40_a_command_with_another_end_is_refused_and_the_session_ends(
    route, line_end
):
    envelope = b"MAIL FROM:<a@gemeente.test>", b"RCPT TO:<smuggled@ggz.test>", b"DATA"
    with siege.calling(route.gateway) as caller:
        caller.send(b"".join(line + line_end for line in envelope))
        caller.send(WHAT_FOLLOWS)
        answers = caller.replies()
    assert [answer[:9] for answer in answers] == ["500 5.5.2"]
    route.assert_only_clean()
