"""DSN and REQUIRETLS: what the parameters may be, and that they come through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake import dsn, path
from gateway.intake.answer import Refusal
from gateway.model.address import Domain
from gateway.model.message import Notify, RecipientWish, Ret
from tests.unit.intake.intake_desk import HEAD, IMPLICIT

NEVER, SUCCESS, FAILURE, DELAY = Notify
HOME = Domain("gem.nl")
ARGUMENT, UTF8 = "501 5.5.4", "553 5.6.7"


def recipient(parameters, *, smtputf8=False):
    """The wish of a RCPT, or its refusal."""
    try:
        _, parsed = path.parse_recipient(
            f"TO:<a@b.nl> {parameters}", HOME, smtputf8=smtputf8
        )
        return dsn.parse_recipient_wish(parsed)
    except Refusal as refusal:
        return f"{refusal.reply.code} {refusal.reply.enhanced}"


def message(parameters):
    try:
        _, parsed = path.parse_reverse_path(f"FROM:<a@b.nl> {parameters}")
        return dsn.parse_ret(parsed), dsn.parse_envid(parsed)
    except Refusal as refusal:
        return f"{refusal.reply.code} {refusal.reply.enhanced}"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", None),
        ("NOTIFY=NEVER", {NEVER}),
        ("notify=success,Failure,DELAY", {SUCCESS, FAILURE, DELAY}),
        ("NOTIFY=DELAY", {DELAY}),
        ("NOTIFY", ARGUMENT),
        ("NOTIFY=", ARGUMENT),
        ("NOTIFY=NEVER,SUCCESS", ARGUMENT),
        ("NOTIFY=SUCCESS,SUCCESS", ARGUMENT),
        ("NOTIFY=SUCCESS,", ARGUMENT),
        ("NOTIFY=ALWAYS", ARGUMENT),
        ("NOTIFY=NEVER NOTIFY=NEVER", ARGUMENT),
    ],
)
def test_a26_notify(parameters, expected):
    wish = recipient(parameters)
    assert expected == (wish if isinstance(wish, str) else wish.notify)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("rfc822;Jan+2BPiet@B.nl", True),
        ("RFC822;a@b.nl", True),
        ("x-vnd!b;q", True),
        ("utf-8;jan@b.nl", True),
        (r"utf-8;\x{E9}t\x{1F600}@b.nl", True),
        (r"UTF-8;\x{E9}@b.nl", True),
        ("rfc822;" + "a" * 493, True),
        ("rfc822;" + "a" * 494, False),
        ("", False),
        ("a@b.nl", False),
        ("rfc822;", False),
        (";a@b.nl", False),
        ("rfc 822;a", False),
        ("rfc822;a+2g", False),
        ("rfc822;a+2b", False),  # RFC 3461 section 4: hexchar is upper case
        ("rfc822;a+", False),
        ("rfc822;a=b", False),
        (r"utf-8;\x{e9}@b.nl", False),
        (r"utf-8;\xE9@b.nl", False),
        ("utf-8;a+40b", False),
    ],
)
def test_a26_orcpt_is_kept_letter_for_letter_or_refused(value, expected):
    wish = recipient(f"ORCPT={value}")
    assert wish == (RecipientWish(None, value) if expected else ARGUMENT)


def test_a26_orcpt_in_utf8_only_with_smtputf8():
    assert recipient("ORCPT=utf-8;é@b.nl", smtputf8=True).orcpt == "utf-8;é@b.nl"
    assert recipient("ORCPT=utf-8;é@b.nl") == UTF8
    assert recipient("ORCPT=rfc822;é@b.nl", smtputf8=True) == ARGUMENT
    assert recipient("ORCPT=utf-8;" + "é" * 247, smtputf8=True).notify is None
    assert recipient("ORCPT=utf-8;" + "é" * 248, smtputf8=True) == ARGUMENT
    assert recipient("ORCPT=utf-8;\udce9@b.nl", smtputf8=True) == ARGUMENT


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("RET=HDRS ENVID=aBc+2B", (Ret.HDRS, "aBc+2B")),
        ("ret=full", (Ret.FULL, None)),
        ("EnvId=" + "x" * 100, (None, "x" * 100)),
        ("ENVID=" + "x" * 101, ARGUMENT),
        ("ENVID=a+2b", ARGUMENT),
        ("ENVID", ARGUMENT),
        ("ENVID=", ARGUMENT),
        ("RET=BODY", ARGUMENT),
        ("RET", ARGUMENT),
        ("RET=FULL RET=FULL", ARGUMENT),
        ("ENVID=a ENVID=a", ARGUMENT),
        ("ENVID=\xe9", UTF8),
    ],
)
def test_a26_ret_and_envid(parameters, expected):
    assert message(parameters) == expected


def test_a26_recipient_named_twice_hears_all_he_asked_for_in_either():
    silent, success = RecipientWish({NEVER}, "rfc822;x"), RecipientWish({SUCCESS}, None)
    default, other = RecipientWish(), RecipientWish(frozenset({DELAY}), "rfc822;y")
    assert dsn.both_wishes(silent, success) == RecipientWish({SUCCESS}, "rfc822;x")
    assert dsn.both_wishes(silent, default).notify == {FAILURE, DELAY}
    assert dsn.both_wishes(default, default) == default
    assert dsn.both_wishes(success, other).notify == {SUCCESS, DELAY}
    assert dsn.both_wishes(other, silent).orcpt == "rfc822;y"


WISHES = st.builds(
    RecipientWish,
    st.none()
    | st.just(frozenset({NEVER}))
    | st.frozensets(st.sampled_from([SUCCESS, FAILURE, DELAY]), min_size=1),
)


@given(WISHES, WISHES)
def test_a26_naming_twice_is_never_less_and_knows_no_order(one, other):
    both, turned = dsn.both_wishes(one, other), dsn.both_wishes(other, one)
    assert both.notify == turned.notify
    assert both.notify is None or both.notify == {NEVER} or NEVER not in both.notify
    for wish in (one, other):
        asked = wish.notify if wish.notify is not None else {FAILURE, DELAY}
        got = both.notify if both.notify is not None else {FAILURE, DELAY}
        assert asked - {NEVER} <= got


async def test_a26_every_recipient_keeps_its_own_wish(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    code = await talker.code("MAIL FROM:<jan@gem.nl> RET=HDRS ENVID=aBc+2B")
    assert code == "250 2.1.0"
    for line in (
        "<a@b.nl> NOTIFY=NEVER",
        "<c@d.nl> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;C+40d.NL",
        "<e@f.nl>",
    ):
        assert await talker.code(f"RCPT TO:{line}") == "250 2.1.5"
    assert await talker.code("RCPT TO:<g@h.nl> NOTIFY=NEVER,DELAY") == ARGUMENT
    assert (await talker.data(HEAD + b"x\r\n.\r\n")).startswith("250 ")
    envelope = desk.messages[0].envelope
    assert [str(each) for each in envelope.recipients] == ["a@b.nl", "c@d.nl", "e@f.nl"]
    assert (envelope.wish.ret, envelope.wish.envid) == (Ret.HDRS, "aBc+2B")
    wishes = {str(each): wish for each, wish in envelope.recipient_wishes.items()}
    assert wishes == {
        "a@b.nl": RecipientWish(frozenset({NEVER})),
        "c@d.nl": RecipientWish(frozenset({SUCCESS, DELAY}), "rfc822;C+40d.NL"),
    }


async def test_a26_wishes_do_not_outlive_their_transaction(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    await talker.do("MAIL FROM:<jan@gem.nl> ENVID=one")
    await talker.do("RCPT TO:<a@b.nl> NOTIFY=NEVER")
    await talker.do("RSET")
    await talker.begin("a@b.nl")
    await talker.data(HEAD + b"x\r\n.\r\n")
    envelope = desk.messages[0].envelope
    assert envelope.wish.envid is None
    assert envelope.recipient_wishes == {}


async def test_a26_parameters_in_the_wrong_place_or_after_helo_are_555(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    assert await talker.code("MAIL FROM:<jan@gem.nl> NOTIFY=NEVER") == "555 5.5.4"
    await talker.do("MAIL FROM:<jan@gem.nl>")
    assert await talker.code("RCPT TO:<a@b.nl> RET=HDRS") == "555 5.5.4"
    await talker.do("HELO x")
    assert await talker.code("MAIL FROM:<jan@gem.nl> RET=HDRS") == "555 5.5.4"


async def test_a28_all_options_at_their_longest_fit_a_command(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    local = "l" * 64
    domain = ".".join(["d" * 60] * 3) + ".nl"
    sender = f"<{local}@gem.nl> SIZE=100 BODY=8BITMIME SMTPUTF8 AUTH={'a' * 500}"
    code = await talker.code(f"MAIL FROM:{sender} RET=FULL ENVID={'e' * 100}")
    assert code == "250 2.1.0"
    options = f"NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{'o' * 493}"
    assert await talker.code(f"RCPT TO:<{local}@{domain}> {options}") == "250 2.1.5"


async def test_a35_requiretls_only_inside_tls_without_value_and_recorded(
    intake, connect
):
    desk = await intake()
    clear = await connect(desk)
    assert "REQUIRETLS" not in await clear.greet()
    assert await clear.code("MAIL FROM:<jan@gem.nl> REQUIRETLS") == "555 5.5.4"
    inside = await connect(desk, IMPLICIT, tls=True)
    assert "REQUIRETLS" in (await inside.greet()).splitlines()[-2]
    assert await inside.code("MAIL FROM:<jan@gem.nl> REQUIRETLS=yes") == ARGUMENT
    assert await inside.code("MAIL FROM:<jan@gem.nl> requiretls") == "250 2.1.0"
    await inside.do("RCPT TO:<a@b.nl>")
    head = HEAD.replace(b"\r\n\r\n", b"\r\nTLS-Required: No\r\n\r\n")
    await inside.data(head + b"x\r\n.\r\n")
    assert desk.messages[0].envelope.wish.requiretls is True
    await inside.begin()
    await inside.data(HEAD + b"x\r\n.\r\n")
    assert desk.messages[1].envelope.wish.requiretls is False
