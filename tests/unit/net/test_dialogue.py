import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.address import AddressError, Domain, Mailbox
from gateway.model.message import MessageWish, Notify, RecipientWish, Ret
from gateway.net import dialogue
from gateway.net.dialogue import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    Dialogue,
    HopGarbage,
    HopReply,
    ReplyParser,
    Unsendable,
)


def begun() -> Dialogue:
    """A dialogue whose greeting was read."""
    talk = Dialogue()
    talk.feed(b"220 mx1.example.nl ESMTP\r\n")
    assert talk.take() == HopReply(220, ("mx1.example.nl ESMTP",))
    return talk


# --- replies ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "enhanced", "text"),
    [
        (b"250 2.1.5 fine\r\n", "2.1.5", "fine"),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", "5.1.1", "no / such user"),
        (b"250 ok\r\n", None, "ok"),
        (b"250\r\n", None, ""),
        (b"250 \r\n", None, ""),
        (b"550 5.1.1\r\n", "5.1.1", ""),
        (b"550 2.0.0 other class\r\n", None, "2.0.0 other class"),
        (b"550 5.1.1234 no\r\n", None, "5.1.1234 no"),
    ],
)
def test_a_reply_is_kept_with_its_enhanced_status_apart(line, enhanced, text) -> None:
    (reply,) = ReplyParser().feed(line)
    remote = reply.remote()
    assert (remote.code, remote.enhanced, remote.text) == (
        int(line[:3]),
        enhanced,
        text,
    )


def test_b37_text_of_the_hop_is_sanitised() -> None:
    (reply,) = ReplyParser().feed(b"550 <script>\x1b[31m\x00\r \xc3\xa9\r\n")
    assert reply.remote().text == "<script>?[31m?? ??"


def test_b37_text_of_the_hop_is_bounded() -> None:
    (reply,) = ReplyParser().feed(b"550-" + b"a" * 4000 + b"\r\n550 b\r\n")
    assert reply.remote().text == "a" * 2000


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b"250x\r\n",
        b"2500 x\r\n",
        b" 250 x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\n\r\n",
        b"\xb2\xb5\xb0 x\r\n",
        b"a" * (MAX_LINE_OCTETS + 1),
        b"250 " + b"a" * MAX_LINE_OCTETS + b"\r\n",
        b"250-a\r\n" * (MAX_LINES + 1),
    ],
)
def test_b37_what_is_no_reply_is_garbage(garbage: bytes) -> None:
    talk = Dialogue()
    talk.feed(garbage)
    with pytest.raises(HopGarbage):
        talk.take()


def test_b37_the_longest_line_and_the_longest_reply_pass() -> None:
    line = b"250 " + b"a" * (MAX_LINE_OCTETS - 6) + b"\r\n"
    assert len(line) == MAX_LINE_OCTETS
    assert len(ReplyParser().feed(line)) == 1
    long = b"250-a\r\n" * (MAX_LINES - 1) + b"250 a\r\n"
    (reply,) = ReplyParser().feed(long)
    assert len(reply.lines) == MAX_LINES


def test_b51_a_complete_reply_counts_though_garbage_follows() -> None:
    talk = begun()
    talk.ask(b"NOOP\r\n")
    talk.feed(b"250 ok\r\nnonsense\r\n")
    assert talk.take() == HopReply(250, ("ok",))
    with pytest.raises(HopGarbage):
        talk.take()


@pytest.mark.parametrize("partial", [b"", b"25", b"250 ok", b"250 ok\r", b"250-ok\r\n"])
def test_b51_a_partial_reply_is_none(partial: bytes) -> None:
    talk = begun()
    talk.ask(b"NOOP\r\n")
    talk.feed(partial)
    assert talk.take() is None


# --- nothing said out of turn is believed --------------------------------------------


@pytest.mark.parametrize(
    "surplus", [b"250 forged\r\n", b"250", b"x\r\n", b"250-a\r\n", b"421 bye\r\n"]
)
def test_b31_unread_plaintext_forbids_the_step_into_tls(surplus: bytes) -> None:
    talk = begun()
    talk.ask(dialogue.STARTTLS)
    talk.feed(b"220 go ahead\r\n" + surplus)
    assert talk.take() == HopReply(220, ("go ahead",))
    with pytest.raises(HopGarbage):
        talk.enter_tls()


def test_b31_what_the_hop_offered_before_tls_is_forgotten() -> None:
    talk = begun()
    talk.learn(HopReply(250, ("mx1", "PIPELINING", "SIZE 1000", "STARTTLS")))
    assert talk.capabilities == {"PIPELINING": "", "SIZE": "1000", "STARTTLS": ""}
    talk.enter_tls()
    assert talk.capabilities == {}


def test_the_step_into_tls_waits_for_the_reply_to_starttls() -> None:
    talk = begun()
    talk.ask(dialogue.STARTTLS)
    with pytest.raises(HopGarbage):
        talk.enter_tls()


def test_inv7_a_surplus_reply_is_never_taken_for_the_next_answer() -> None:
    talk = begun()
    talk.ask(dialogue.DATA)
    talk.feed(b"354 go\r\n250 delivered already, trust me\r\n")
    assert talk.take() == HopReply(354, ("go",))
    with pytest.raises(HopGarbage):
        talk.end_content()


def test_a_batch_waits_until_the_one_before_is_answered() -> None:
    talk = begun()
    assert talk.ask(b"A\r\n", b"B\r\n") == b"A\r\nB\r\n"
    talk.feed(b"250 a\r\n")
    talk.take()
    with pytest.raises(HopGarbage):
        talk.ask(b"C\r\n")


def test_the_final_dot_is_answered_once() -> None:
    talk = begun()
    assert talk.end_content() == b".\r\n"
    talk.feed(b"250 2.0.0 queued\r\n")
    assert talk.take().remote().enhanced == "2.0.0"
    assert talk.take() is None


# --- commands ------------------------------------------------------------------------


def test_commands_hold_what_the_hop_offered_and_the_message_needs() -> None:
    said = dialogue.mail(
        "burgemeester@gemeente.nl", size_octets=1234, eight_bit=True, smtputf8=False
    )
    assert said == b"MAIL FROM:<burgemeester@gemeente.nl> SIZE=1234 BODY=8BITMIME\r\n"
    said = dialogue.mail("", size_octets=None, eight_bit=False, smtputf8=False)
    assert said == b"MAIL FROM:<>\r\n"
    post = Mailbox('"a b"', Domain("example.nl"))
    assert dialogue.rcpt(post, smtputf8=False) == b'RCPT TO:<"a b"@example.nl>\r\n'
    assert dialogue.ehlo("gw.gemeente.nl") == b"EHLO gw.gemeente.nl\r\n"


JAN = Mailbox("jan", Domain("example.nl"))


def test_a26_wishes_are_said_word_for_word() -> None:
    wish = MessageWish(Ret.HDRS, "aBc+2B")
    said = dialogue.mail(
        "a@b.nl",
        size_octets=5,
        eight_bit=False,
        smtputf8=False,
        dsn=wish,
        requiretls=True,
    )
    assert said == b"MAIL FROM:<a@b.nl> SIZE=5 RET=HDRS ENVID=aBc+2B REQUIRETLS\r\n"
    every = frozenset({Notify.DELAY, Notify.SUCCESS, Notify.FAILURE})
    asked = RecipientWish(every, "rfc822;Jan+2Bx@Example.nl")
    assert dialogue.rcpt(JAN, smtputf8=False, dsn=asked) == (
        b"RCPT TO:<jan@example.nl> NOTIFY=SUCCESS,FAILURE,DELAY"
        b" ORCPT=rfc822;Jan+2Bx@Example.nl\r\n"
    )


def test_a26_what_was_not_said_is_not_made_up() -> None:
    assert dialogue.rcpt(JAN, smtputf8=False) == b"RCPT TO:<jan@example.nl>\r\n"
    only = RecipientWish(orcpt="rfc822;x")
    assert b"NOTIFY" not in dialogue.rcpt(JAN, smtputf8=False, dsn=only)


def test_a28_the_longest_wishes_still_fit_into_a_command() -> None:
    asked = RecipientWish(frozenset({Notify.NEVER}), "rfc822;" + "a" * 493)
    assert len(dialogue.rcpt(JAN, smtputf8=False, dsn=asked)) <= 2048


@pytest.mark.parametrize("envid", ["a b", "a\r\nDATA", "a" * 101, "\u00e9"])
def test_b40_a_poisoned_envelope_id_never_becomes_a_command(envid) -> None:
    with pytest.raises(Unsendable, match="ENVID"):
        dialogue.mail(
            "a@b.nl",
            size_octets=None,
            eight_bit=False,
            smtputf8=True,
            dsn=MessageWish(envid=envid),
        )


@pytest.mark.parametrize(
    "orcpt", ["a", "rfc822;a b", "rfc822;a\r\nDATA", "rfc822;\u00e9"]
)
def test_b40_a_poisoned_original_recipient_never_becomes_a_command(orcpt) -> None:
    with pytest.raises(Unsendable, match="ORCPT"):
        dialogue.rcpt(JAN, smtputf8=True, dsn=RecipientWish(orcpt=orcpt))


def test_a24_an_original_recipient_outside_ascii_is_said_as_the_hop_can_take_it() -> (
    None
):
    """RFC 6533 section 3: the 7-bit form where SMTPUTF8 is not said."""
    asked = RecipientWish(orcpt="utf-8;j\u00f6rg@example.nl")
    said = dialogue.rcpt(JAN, smtputf8=True, dsn=asked)
    assert said.endswith(" ORCPT=utf-8;j\u00f6rg@example.nl\r\n".encode())
    said = dialogue.rcpt(JAN, smtputf8=False, dsn=asked)
    assert said.endswith(b" ORCPT=utf-8;j\\x{F6}rg@example.nl\r\n")
    unseen = RecipientWish(orcpt="utf-8;j\u200drg@example.nl")
    said = dialogue.rcpt(JAN, smtputf8=True, dsn=unseen)
    assert said.endswith(b" ORCPT=utf-8;j\\x{200D}rg@example.nl\r\n")


def test_smtputf8_is_said_in_utf8() -> None:
    said = dialogue.mail(
        "andré@gemeente.nl", size_octets=None, eight_bit=True, smtputf8=True
    )
    expected = "MAIL FROM:<andré@gemeente.nl> BODY=8BITMIME SMTPUTF8\r\n"
    assert said == expected.encode()


POISON = [
    "a\r\nRCPT TO:<b@evil.nl>",
    "a\rb",
    "a\nb",
    "a\0b",
    "a\x7fb",
    "a> SIZE=1 <b",
    "a b",
    "é",
    "a\x85b",
    '"a\r\nb"',
    "",
]


@pytest.mark.parametrize("local_part", POISON)
def test_b40_a_poisoned_recipient_never_becomes_a_command(local_part: str) -> None:
    poisoned = Mailbox(local_part, Domain("example.nl"))
    with pytest.raises(Unsendable):
        dialogue.rcpt(poisoned, smtputf8=False)


@pytest.mark.parametrize("local_part", [p for p in POISON if p != "é"])
def test_b40_smtputf8_lets_no_control_character_in(local_part: str) -> None:
    poisoned = Mailbox(local_part, Domain("example.nl"))
    with pytest.raises(Unsendable):
        dialogue.rcpt(poisoned, smtputf8=True)


@pytest.mark.parametrize("domain", ["evil\r\nQUIT", "a..b", "bücher.nl", "x"])
def test_b40_a_poisoned_domain_never_becomes_a_command(domain: str) -> None:
    with pytest.raises(Unsendable):
        dialogue.rcpt(Mailbox("a", Domain(domain)), smtputf8=False)
    with pytest.raises(Unsendable):
        dialogue.mail(f"a@{domain}", size_octets=None, eight_bit=False, smtputf8=False)


def test_b40_a_lone_surrogate_never_becomes_a_command() -> None:
    with pytest.raises(Unsendable):
        dialogue.rcpt(Mailbox("a\udc80", Domain("example.nl")), smtputf8=True)


def test_b40_a_poisoned_name_of_ours_never_becomes_a_command() -> None:
    with pytest.raises(Unsendable):
        dialogue.ehlo("gw\r\nQUIT")


@pytest.mark.parametrize("unseen", ["\u200d", "\u00ad", "\u0378", "\U0001f468"])
def test_a24_an_address_that_intake_takes_can_be_sent(unseen: str) -> None:
    mailbox = Mailbox.parse(f"a{unseen}b@example.nl", smtputf8=True)
    said = dialogue.rcpt(mailbox, smtputf8=True)
    assert said == f"RCPT TO:<a{unseen}b@example.nl>\r\n".encode()


@given(st.text(min_size=1, max_size=20))
def test_a24_what_intake_takes_the_dialer_takes(local_part: str) -> None:
    try:
        mailbox = Mailbox.parse(f"{local_part}@example.nl", smtputf8=True)
    except (AddressError, UnicodeError):
        return
    assert dialogue.rcpt(mailbox, smtputf8=True).endswith(b"@example.nl>\r\n")


# --- content -------------------------------------------------------------------------


def unstuffed(wire: bytes) -> bytes:
    """What a receiver makes of it (RFC 5321 4.5.2), line by line."""
    lines = []
    for line in wire.split(b"\r\n"):
        if line == b".":
            return b"".join(each + b"\r\n" for each in lines)
        lines.append(line.removeprefix(b"."))
    raise AssertionError("no final dot")


@pytest.mark.parametrize("portion", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "octets",
    [
        b"a\r\n",
        b".\r\n",
        b"..\r\n",
        b".a\r\n.\r\n",
        b"a\r\n.\r\n.\r\nb\r\n",
        b"\r\n",
        b"\r\n\r\n.\r\n",
        b"a.\r\n .\r\n",
        b"\xff\x80.\r\n.\xff\r\n",
    ],
)
def test_b39_the_receiver_gets_back_exactly_what_was_given(octets, portion) -> None:
    starts = range(0, len(octets), portion)
    pieces = [octets[at : at + portion] for at in starts]
    portions = list(dialogue.stuffed(pieces))
    assert unstuffed(b"".join(portions) + b".\r\n") == octets


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"a",
        b"a\r",
        b"a\n",
        b"a\n.\r\n",
        b"a\r.\r\n",
        b"a\n.\nMAIL FROM:<x@y.nl>\r\n",
        b"a\0b\r\n",
        b"a\r\r\n",
        b"a\n\r\n",
    ],
)
@pytest.mark.parametrize("portion", [1, 2, 1000])
def test_inv6_content_that_could_end_early_is_not_sent(octets, portion) -> None:
    starts = range(0, len(octets), portion)
    pieces = [octets[at : at + portion] for at in starts]
    with pytest.raises(Unsendable):
        list(dialogue.stuffed(pieces))
