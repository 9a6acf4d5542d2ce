"""SMTPUTF8 and IDNA2008 at the door (A-04, A-24, A-25)."""

import datetime

import pytest

from gateway.intake.answer import Refusal
from gateway.intake.path import parse_recipient, parse_reverse_path
from gateway.intake.received import format_received
from gateway.model.address import AddressError, Domain, Mailbox
from gateway.model.ids import MessageId
from gateway.model.peer import Identification, Peer, TlsFacts
from tests.unit.intake.intake_desk import HEAD, NETWORK, USER, settings

HOME = Domain("gem.nl")
AT = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
TLS = TlsFacts("TLSv1.3", "x")


def ask(text):
    try:
        return str(parse_recipient(f"TO:{text}", HOME, smtputf8=True)[0])
    except Refusal as refusal:
        return f"{refusal.reply.code} {refusal.reply.enhanced}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<é@b.nl>", "é@b.nl"),
        ("<É@b.nl>", "É@b.nl"),  # no folding,
        ("<e\u0301@b.nl>", "e\u0301@b.nl"),  # no NFC,
        ("<ｊan@b.nl>", "ｊan@b.nl"),  # no mapping of a local-part
        ("<a.é.b@b.nl>", "a.é.b@b.nl"),
        ('<"é b"@c.nl>', '"é b"@c.nl'),
        ("<用户@例子.广告>", "用户@xn--fsqu00a.xn--4rr70v"),
        ("<a@faß.de>", "a@xn--fa-hia.de"),
        ("<a@FAß.de>", "a@xn--fa-hia.de"),
        ("<a@xn--fa-hia.DE>", "a@xn--fa-hia.de"),
        ("<a@bücher.example>", "a@xn--bcher-kva.example"),
        ("<a@раypal.nl>", "a@xn--ypal-43d9g.nl"),  # Cyrillic: another domain
        ("<" + "é" * 32 + "@b.nl>", "é" * 32 + "@b.nl"),
        ("<" + "é" * 32 + "x@b.nl>", "501 5.1.3"),
        ("<a@☃\ufe0f.\u200d.nl>", "501 5.1.3"),
        ("<a@é..nl>", "501 5.1.3"),
        ("<a@é>", "501 5.1.3"),
        ("<a@é。>", "501 5.1.3"),
        ("<a\u0085b@c.nl>", "501 5.1.3"),
        ("<a\u2028b@c.nl>", "501 5.1.3"),
        ("<a\u202eb@c.nl>", "501 5.1.3"),
        ("<a\u00a0b@c.nl>", "501 5.1.3"),
        ('<"a\u0085b"@c.nl>', "501 5.1.3"),
        ("<\udce9@b.nl>", "501 5.1.3"),
        ("<a@\udce9.nl>", "501 5.1.3"),
        ("<.é@b.nl>", "501 5.1.3"),
    ],
)
def test_a24_a25_address_with_smtputf8(text, expected):
    assert ask(text) == expected


def test_a24_without_the_parameter_nothing_but_ascii():
    for text in ("<é@b.nl>", "<a@é.nl>", "<\udce9@b.nl>"):
        with pytest.raises(Refusal, match=r"553 5\.6\.7"):
            parse_recipient(f"TO:{text}", HOME)
        with pytest.raises(Refusal, match=r"553 5\.6\.7"):
            parse_reverse_path(f"FROM:{text}")
    # In a quoted local-part it is no parameter.
    with pytest.raises(Refusal, match=r"553 5\.6\.7"):
        parse_reverse_path('FROM:<"é SMTPUTF8 "@b.nl>')
    with pytest.raises(Refusal, match=r"501 5\.5\.4"):
        parse_reverse_path("FROM:<é@b.nl> SMTPUTF8=1")


def test_a25_address_too_long_in_a_labels_is_refused_however_it_was_written():
    domain = ".".join(["ü" * 20] * 5) + ".nl"
    assert len(f"a@{domain}".encode()) <= 254
    assert len(str(Domain.parse(domain))) <= 253
    local = "l" * 64
    assert Mailbox.parse(f"a@{domain}")
    with pytest.raises(AddressError, match="254"):
        Mailbox.parse(f"{local}@{'ü' * 20}.{'a' * 60}.{'b' * 60}.{'c' * 25}.nl")


async def test_a24_utf8_comes_through_only_with_the_parameter(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    utf8 = talker.do_utf8
    assert (await utf8("MAIL FROM:<é@gem.nl>")).startswith("553-5.6.7 ")
    assert (await utf8("MAIL FROM:<jan@gem.nl>")).startswith("250 ")
    assert (await utf8("RCPT TO:<é@b.nl>")).startswith("553-5.6.7 ")
    await utf8("RSET")
    assert (await utf8("MAIL FROM:<é@gem.nl> SMTPUTF8")).startswith("250 ")
    assert (await utf8("RCPT TO:<用户@faß.de>")).startswith("250 ")
    assert (await utf8("RCPT TO:<\udce9@b.nl>")).startswith("501-5.1.3 ")
    assert (await talker.data(HEAD + b"x\r\n.\r\n")).startswith("250 ")
    envelope = desk.messages[0].envelope
    assert envelope.smtputf8 is True
    assert str(envelope.reverse_path) == "é@gem.nl"
    assert str(envelope.recipients[0]) == "用户@xn--fa-hia.de"


async def test_a24_octets_that_are_no_utf8_are_refused_not_repaired(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    assert (await talker.do("EHLO caf\xe9")).startswith("250-")
    assert await talker.code("MAIL FROM:<\xe9@gem.nl>") == "553 5.6.7"
    assert await talker.code("MAIL FROM:<\xe9@gem.nl> SMTPUTF8") == "501 5.1.7"
    assert (
        await talker.code("MAIL FROM:<jan@gem.nl> SMTPUTF8 ENVID=\xe9") == "501 5.5.4"
    )
    assert await talker.code("NOOP \xe9") == "250 2.0.0"


async def test_a24_sender_domain_is_compared_in_a_labels(intake, connect):
    clients = NETWORK + 'sender_domains = ["gem.nl"]\n' + USER
    desk = await intake(configuration=settings(clients))
    talker = await connect(desk)
    await talker.greet()
    said = await talker.do_utf8("MAIL FROM:<a@gém.nl> SMTPUTF8")
    assert said.startswith("550-5.7.1 ")
    said = await talker.do_utf8("MAIL FROM:<a@ｇem.nl> SMTPUTF8")  # full width: maps
    assert said.startswith("250 ")


def peer(**arguments):
    return Peer(
        address="192.0.2.1",
        helo="x",
        client="c",
        municipality="m",
        sender_domains=frozenset(),
        **{
            "extended": True,
            "tls": None,
            "identified_by": Identification.NETWORK,
            **arguments,
        },
    )


@pytest.mark.parametrize(
    ("smtputf8", "tls", "by", "expected"),
    [
        (False, None, Identification.NETWORK, "ESMTP"),
        (True, None, Identification.NETWORK, "UTF8SMTP"),
        (True, TLS, Identification.NETWORK, "UTF8SMTPS"),
        (True, TLS, Identification.CERTIFICATE, "UTF8SMTPS"),
        (True, TLS, Identification.AUTH, "UTF8SMTPSA"),
        (True, None, Identification.AUTH, "UTF8SMTPA"),
    ],
)
def test_a04_protocol_of_our_field_says_utf8(smtputf8, tls, by, expected):
    field = format_received(
        peer(tls=tls, identified_by=by),
        "gw.nl",
        MessageId("i"),
        (Mailbox.parse("é@b.nl", smtputf8=True),),
        AT,
        smtputf8=smtputf8,
    )
    assert f" with {expected} id i".encode() in field
    assert ("\tfor <é@b.nl>".encode() in field) is smtputf8
    assert field.isascii() is not smtputf8
