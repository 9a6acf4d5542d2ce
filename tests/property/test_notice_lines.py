"""No line of a notice is too long for the servers it passes (RFC 5322 2.1.1, A-26)."""

import email
import email.policy

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.delivery import xtext
from gateway.model.address import AddressError, Mailbox, ReversePath
from gateway.model.ids import MessageId
from gateway.model.message import MessageWish
from gateway.model.reply import RemoteReply
from gateway.queue.dsn import Action, NoticeLine
from gateway.queue.notice import About, NoticeKind, compose
from gateway.texts import render
from tests.unit.queue import queue_desk as desk

MOST = 998  # octets, without CR LF
REASON = render.Explained("K404", "Nederlands.", "English.", "Bel.", "Call.")
E_ACUTE = "\u00e9"
LONGEST = f"utf-8;{E_ACUTE * 247}"  # 500 octets as it came, 1,500 as ASCII

printable = st.characters(min_codepoint=33, max_codepoint=126)
beyond = st.characters(min_codepoint=0xA1, exclude_categories=("Cs", "Cn"))
anything = st.text(st.one_of(printable, beyond), min_size=1, max_size=500)


def _mailbox(text: str) -> Mailbox | None:
    try:
        return Mailbox.parse(text, smtputf8=True)
    except AddressError:
        return None


locals_ = st.text(st.one_of(st.sampled_from("ax+=_"), beyond), min_size=1, max_size=64)
mailboxes = (
    st.tuples(locals_, st.integers(1, 3))
    .map(lambda made: _mailbox(f"{made[0]}@{('d' * 60 + '.') * made[1]}example"))
    .filter(lambda made: made is not None)
)
orcpts = st.one_of(
    anything.map(lambda text: f"utf-8;{text}"),
    anything.map(lambda text: f"rfc822;{text}"),
    st.just(LONGEST),
).filter(lambda text: len(text.encode()) <= xtext.MAX_ORCPT and xtext.is_orcpt(text))
replies = st.builds(
    RemoteReply,
    st.integers(400, 599),
    st.sampled_from([None, "5.1.1"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=2000),
)
lines = st.builds(
    NoticeLine,
    mailboxes,
    st.sampled_from(Action),
    st.just("5.1.1"),
    st.just(REASON),
    reply=st.one_of(st.none(), replies),
    remote_host=st.one_of(st.none(), st.just("d" * 253)),
    diagnosis=st.one_of(st.none(), st.integers(1, 3000).map("y".__mul__)),
    orcpt=st.one_of(st.none(), orcpts),
)
envids = st.text(st.sampled_from("aB9+2"), max_size=100).filter(xtext.is_envid)
fields = st.tuples(
    st.sampled_from(["Subject", "X-Long", "To"]),
    st.integers(1, 5000),
    st.sampled_from(["a", "a ", "=", E_ACUTE]),
).map(lambda made: f"{made[0]}: {made[1] * made[2]}\r\n".encode())
headers = st.lists(fields, max_size=6).map(b"".join)
OWNER = desk.policy().municipalities[desk.OWNER]
A = Mailbox.parse("a@b.example")
TOO_LONG = NoticeLine(A, Action.FAILED, "5.1.1", REASON, orcpt=LONGEST)


def composed(told: list[NoticeLine], header: bytes, envid: str | None) -> bytes:
    about = About(
        MessageId("m-1"),
        ReversePath(desk.SENDER),
        header,
        desk.NOW,
        desk.NOW + desk.HOUR,
        MessageWish(envid=envid),
    )
    stamp = MessageId("n-1"), desk.NOW
    notice = compose(NoticeKind.FAILED, about, tuple(told), OWNER, desk.HOSTNAME, stamp)
    assert notice is not None
    return notice.octets


@given(st.lists(lines, min_size=1, max_size=3), headers, st.one_of(st.none(), envids))
@example([TOO_LONG], b"Subject: x\r\n", None)
@example([TOO_LONG], b"X: " + b"a" * 5000 + b"\r\nSubject: x\r\n", None)
def test_a26_g12_no_line_of_a_notice_is_over_998_octets(told, header, envid):
    """Whatever was named, answered or written: a hop would cut or refuse the notice."""
    octets = composed(told, header, envid)
    split = octets.split(b"\r\n")
    assert max(map(len, split)) <= MOST
    assert not any(b"\n" in line or b"\r" in line for line in split)
    assert octets.isascii()
    report = email.message_from_bytes(octets, policy=email.policy.default)
    human, status, returned = report.iter_parts()
    assert [part.get_content_type() for part in (human, status, returned)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    # Nothing of the header is changed by how it is carried.
    whole = header[: 16 * 1024]
    whole = whole[: whole.rfind(b"\r\n") + 2] if b"\r\n" in whole else b""
    assert returned.get_payload(decode=True).strip() == whole.strip()
    for line, group in zip(told, status.get_payload()[1:], strict=True):
        assert ("Original-Recipient" in group) in {line.orcpt is not None, False}


def test_a26_an_original_recipient_that_fits_is_never_left_out():
    octets = composed([TOO_LONG], b"Subject: x\r\n", None)
    assert b"Original-Recipient" not in octets
    assert b"Final-Recipient: rfc822; a@b.example\r\n" in octets
    room = (MOST - len("Original-Recipient: utf-8; ")) // len("\\x{E9}")
    for count, is_there in ((room, True), (room + 1, False)):
        fits = NoticeLine(
            A, Action.FAILED, "5.1.1", REASON, orcpt=f"utf-8;{E_ACUTE * count}"
        )
        octets = composed([fits], b"Subject: x\r\n", None)
        assert (b"Original-Recipient" in octets) is is_there
