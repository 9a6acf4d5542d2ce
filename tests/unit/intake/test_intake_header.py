"""What a header must look like, so that everybody reads the same (A-43)."""

import email.policy
import time
from email.parser import BytesParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.intake.header import MAX_OCTETS, check_header, header_end, strip_fields
from tests.unit.intake.intake_desk import OK

FROM = b"From: jan@gem.nl\r\n"
OURS = "gw.gem.example"
TRACE = b"Received: from x\r\n\tby y;\r\n\tWed, 25 Nov 2026 12:00:00 +0000\r\n"
ONCE = [
    *("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject", "Date"),
    *("Message-ID", "In-Reply-To", "References", "MIME-Version"),
    *("Content-Type", "Content-Transfer-Encoding"),
]


def defect_of(content, *, smtputf8=True):
    """What is wrong with content that came in."""
    return check_header(content[: header_end(content)], OURS, smtputf8=smtputf8)


def fault(content):
    """The word for what is wrong, if something is."""
    defect = defect_of(content)
    return defect and defect.fault


def stripped(content):
    """What stays of content, and what was taken out."""
    end = header_end(content)
    kept, removed = strip_fields(content[:end])
    return kept + content[end:], removed


REFUSED = [
    # The attacker's: fields that one parser sees and another does not.
    (FROM + b"Subject : zaak\r\nContent-Type: text/plain\r\n\r\n", "line-no-field"),
    (FROM + b"Content-Type : text/html\r\n\r\n", "line-no-field"),
    (FROM + b"From : ceo@evil.example\r\n\r\n", "line-no-field"),
    (b"From\t: jan@gem.nl\r\n\r\n", "line-no-field"),
    (FROM + b": x\r\n\r\n", "line-no-field"),
    (FROM + b"no colon at all\r\n\r\n", "line-no-field"),
    (FROM + b"From j@evil Wed Nov 25 2026\r\nTo: a@b.nl\r\n\r\n", "line-no-field"),
    (b"From j@evil Wed Nov 25 12:00:00 2026\r\n" + FROM + b"\r\n", "line-no-field"),
    (FROM + b"Subj\xc3\xa9ct: x\r\n\r\n", "line-no-field"),
    (FROM + b"X\x7f: x\r\n\r\n", "line-no-field"),
    # No empty line between header and text.
    (FROM + b"Subject: x\r\nDear all,\r\nthe text\r\n", "line-no-field"),
    (FROM + b"Subject: x\r\nDear all,\r\n\r\nthe text\r\n", "line-no-field"),
    (b" " + FROM + b"\r\n", "fold-first"),
    (b"\tfor <x@evil.example>\r\n" + FROM + b"\r\n", "fold-first"),
    (b" \r\n" + FROM + b"\r\n", "fold-first"),
    (FROM + b"Subject: x\r\n \r\nContent-Type: text/plain\r\n\r\n", "fold-blank"),
    (FROM + b"Subject: x\r\n\t \t\r\n\r\n", "fold-blank"),
    (FROM + b"Subject: x\r\n \r\n y\r\n\r\n", "fold-blank"),
    (b"", "no-from"),
    (b"\r\ntext\r\n", "no-from"),
    (b"\r\n" + FROM + b"\r\n", "no-from"),
    (b"Subject: x\r\n From: jan@gem.nl\r\n\r\n", "no-from"),
    (b"Resent-From: jan@gem.nl\r\nXFrom: a\r\n\r\n", "no-from"),
    (FROM + b"fROM: ceo@evil.example\r\n\r\n", "double-from"),
    (b"From: ceo@evil.example\r\nSubject: x\r\n" + FROM + b"\r\n", "double-from"),
    (FROM + b"Subject: \x0b\r\n\r\n", "control"),
    (FROM + b"X: " + b"y" * 900 + b"\r\n" + b"a:\r\n" * 300_000, "too-long"),
]


@pytest.mark.parametrize(("content", "expected"), REFUSED)
def test_header_that_could_be_read_in_two_ways_is_refused(content, expected):
    assert fault(content) == f"header-{expected}"


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("write", [str, str.lower, str.upper])
def test_field_that_may_stand_there_once_stands_there_once(name, write):
    field = b"" if name == "From" else f"{name}: one\r\n".encode()
    again = f"{write(name)}:two\r\n".encode()
    assert fault(FROM + field + b"\r\n" + again) is None  # in the text it is text
    assert fault(FROM + field + b"X: y\r\n" + again + b"\r\n") == (
        f"header-double-{name.lower()}"
    )


@pytest.mark.parametrize(("content", "expected"), REFUSED)
def test_refusal_says_in_two_languages_what_to_repair_and_echoes_nothing(
    content, expected
):
    reply = defect_of(content).reply
    text = reply.render()
    assert (reply.code, reply.enhanced) == (550, "5.6.0")
    assert text.isascii()
    assert all(len(line) <= 510 for line in text.split("\r\n"))
    dutch, english = reply.lines
    assert dutch.startswith("K601 Bericht geweigerd: ")
    assert english.startswith("K601 Message refused: ")
    assert "evil" not in text


# --- ordinary life --------------------------------------------------------------------
EXCHANGE = b"""\
Received: from EX01.voorbeeldstad.example (10.1.2.3) by EX02.voorbeeldstad.example\r
 (10.1.2.4) with Microsoft SMTP Server (version=TLS1_2,\r
 cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.39; Wed, 25 Nov 2026\r
 12:00:00 +0100\r
Received: from EX02 ([fe80::1%5]) by EX02 with mapi id 15.01.2507.039;\r
\tWed, 25 Nov 2026 12:00:00 +0100\r
From: "Vries, J. de" <jan@gem.nl>\r
To: "loket@pi.example" <loket@pi.example>\r
CC: =?iso-8859-1?Q?Zo=EB?= <zoe@gem.nl>\r
Subject: =?iso-8859-1?Q?Voorbeeld_van_een_lang_onderwerp_dat_over_meer_dan_=E9?=\r
 =?iso-8859-1?Q?=E9n_regel_loopt?=\r
Thread-Topic: Voorbeeld\r
Thread-Index: AdoA\r
Date: Wed, 25 Nov 2026 11:00:00 +0000\r
Message-ID: <a1b2@voorbeeldstad.example>\r
Accept-Language: nl-NL, en-US\r
X-MS-Has-Attach:\r
X-MS-TNEF-Correlator:\r
x-ms-exchange-transport-fromentityheader: Hosted\r
Content-Type: multipart/alternative;\r
\tboundary="_000_a1b2voorbeeldstad_"\r
MIME-Version: 1.0\r
\r
--_000_a1b2voorbeeldstad_\r
Content-Type: text/plain\r
\r
Goedemiddag\r
"""
SCANNER = b"""\
Date: Wed, 25 Nov 2026 12:00:00 +0100\r
From:scanner@gem.nl\r
To:<jan@gem.nl>\r
Subject:\r
 Scan van MFP-3\r
X-Mailer: MFP:3/1\r
MIME-Version:1.0\r
Content-Type:multipart/mixed;\r
 boundary="x"\r
\r
--x--\r
"""
ORDINARY = {
    "exchange": EXCHANGE,
    "scanner": SCANNER,
    "header only": FROM + b"Subject: x\r\n",
    "header and its empty line only": FROM + b"\r\n",
    "eight bit": FROM + "Subject: café\r\n\r\n".encode(),
    "latin-1 fold": FROM + b"Subject:\r\n \xe9\r\n\r\n",
    "empty values": FROM + b"Subject:\r\nTo: \r\nCc:\t\r\n\r\n",
    "colon behind the name": FROM + b"X::y\r\nX-!#$~: z\r\n\r\n",
    "resent": FROM + b"Resent-From: a@gem.nl\r\nResent-From: b@gem.nl\r\n\r\n",
    "list": FROM + b"List-Id: <x>\r\nComments: a\r\nComments: b\r\n\r\n",
    "text that looks like a header": FROM + b"\r\n fold\r\nFrom : x\r\nFrom: y\r\n",
    "as long as may be": FROM + b"X-Y: z\r\n" * ((MAX_OCTETS - len(FROM)) // 8),
}


@pytest.mark.parametrize("content", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_header_passes(content):
    assert fault(content) is None


async def test_refused_header_is_told_and_logged_and_the_session_goes_on(
    intake, connect
):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    reply = await talker.data(FROM + b"Subject : zaak\r\n\r\n.\r\n")
    assert [line[:24] for line in reply.splitlines()] == [
        "550-5.6.0 K601 Bericht g",
        "550-5.6.0 K601 Message r",
        "550 5.6.0 Kenmerk / refe",
    ]
    assert desk.log[-1] == (
        "intake-content-refused",
        {"message": "id1", "client": "mta", "fault": "header-line-no-field"},
    )
    await talker.begin()
    assert await talker.data(FROM + b"\r\n.\r\n") == OK.render()
    assert len(desk.messages) == 1


# --- laws ----------------------------------------------------------------------------------
PIECES = st.sampled_from(
    [
        *(b"From", b"From:", b"Subject:", b"subject :", b"X:", b":", b" ", b"\t"),
        *(b"\r\n", b"\r\n ", b"\r\n\r\n", b"a", b"\xe9", b"\x85", b"From a", b"y: z"),
    ]
)


@given(st.lists(PIECES, max_size=20).map(b"".join))
@example(b"X: y\r\n \r\nFrom: a\r\n\r\n")
@example(b"X: \xc2\x85From: a\r\n\r\n")
def test_parser_behind_us_sees_every_field_of_a_header_that_passes(text):
    content = FROM + text + b"\r\n"
    if defect_of(content) is not None:
        return
    parsed = BytesParser(policy=email.policy.compat32).parsebytes(content)
    header = content.partition(b"\r\n\r\n")[0]
    lines = [line for line in header.split(b"\r\n") if line and line[:1] not in b" \t"]
    names = [line.partition(b":")[0].decode() for line in lines]
    assert parsed.keys() == names
    assert parsed.defects == []
    assert names.count("From") == 1


def test_worst_header_takes_time_in_proportion_to_its_length():
    """Each takes some hundredths of a second; what is tried twice takes minutes."""
    for line in (b"a:\r\n", b"from:\r\n", b"\t\t\t\t\t\tx\r\n", b"aaaaaaaaaaaa\r\n"):
        content = FROM + line * ((MAX_OCTETS - len(FROM)) // len(line))
        began = time.process_time()
        defect_of(content)
        assert time.process_time() - began < 2


KEPT = [
    b"Bcc-Note: kept\r\n",
    b"X-Ketenmailer: kept\r\n",
    b"X-Bcc: kept\r\n",
    b"Subject: a\r\n Bcc: this is the subject\r\n",
]
TAKEN = [
    (b"Bcc: a@b.nl\r\n", "bcc"),
    (b"bCC:\r\n", "bcc"),
    (b"Bcc: a@b.nl,\r\n\tc@d.nl,\r\n e@f.nl\r\n", "bcc"),
    (b"Resent-Bcc: a@b.nl\r\n", "resent-bcc"),
    (b"X-Ketenmail-Verified: yes\r\n", "x-ketenmail"),
    (b"x-KETENMAIL: none\r\n level\r\n", "x-ketenmail"),
    (b"X-Ketenmail-: x\r\n", "x-ketenmail"),
]


@pytest.mark.parametrize(("field", "kind"), TAKEN)
@pytest.mark.parametrize("end", [b"\r\n", b"\r\nBcc: in the text\r\n", b""])
def test_a44_hidden_recipients_and_names_of_ours_are_taken_out(field, kind, end):
    for before, after in ((b"", FROM), (FROM, b""), (FROM, b"To: x@y.nl\r\n")):
        content = before + field + after
        octets, removed = stripped(content + end)
        assert octets == before + after + end
        assert removed == ((kind, 1),)


@pytest.mark.parametrize("field", KEPT)
def test_a44_everything_else_stays_to_the_octet(field):
    octets = FROM + field + b"\r\nX-Ketenmail-Level: text\r\n"
    assert stripped(octets) == (octets, ())


def test_a44_our_own_trace_stays_and_several_kinds_are_counted():
    fields = b"".join(field for field, _ in TAKEN)
    octets, removed = stripped(fields + FROM + b"\r\n")
    assert octets == FROM + b"\r\n"
    assert removed == (("bcc", 3), ("resent-bcc", 1), ("x-ketenmail", 3))


async def test_a44_what_is_stored_has_no_bcc_and_says_what_went(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    talker.send(
        FROM + b"Bcc: secret@b.nl\r\nX-Ketenmail-Level: none\r\n\r\nBcc: text\r\n.\r\n"
    )
    assert (await talker.reply()).startswith("250 ")
    assert desk.content() == FROM + b"\r\nBcc: text\r\n"
    assert desk.messages[0].removed == (("bcc", 1), ("x-ketenmail", 1))


def hop(by, front="from mail.gem.nl ([192.0.2.1])"):
    return f"Received: {front}\r\n\tby {by} with ESMTPS id x;\r\n\tdate\r\n".encode()


@pytest.mark.parametrize("by", [OURS, "GW.Gem.Example"])
def test_a05_what_comes_back_to_us_for_the_fifth_time_loops(by):
    assert fault(hop(by) * 4 + FROM + b"\r\n") is None
    assert fault(hop("mx.else.nl") * 3 + hop(by) * 5 + FROM + b"\r\n") == "loop"
    assert fault((hop(by) + hop("mx.else.nl")) * 5 + FROM + b"\r\n") == "loop"


@pytest.mark.parametrize(
    "field",
    [
        hop("mx.gw.gem.example"),
        hop("gw.gem.example.evil.nl"),
        hop("mx.else.nl", f"from {OURS} (by {OURS} it says)"),
        hop("mx.else.nl", f"from {OURS} ([192.0.2.1])"),
        f"X-Received: by {OURS}\r\n".encode(),
        b"X-Loop:" + hop(OURS).removeprefix(b"Received:"),
    ],
)
def test_a05_other_hosts_and_other_fields_are_no_visit_here(field):
    assert fault(field * 9 + FROM + b"\r\n") is None
    text = hop(OURS) * 9  # as text, and as a message within the message
    assert fault(FROM + b"\r\n" + text + b"\r\n") is None


async def test_a05_mail_that_loops_through_us_is_refused_at_the_dot(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    content = FROM + b"\r\ntext\r\n"
    for visit in range(6):
        await talker.begin()
        reply = await talker.data(content + b".\r\n")
        if visit < 5:
            assert reply.startswith("250 ")
            content = desk.messages[-1].octets
    assert "the message loops" in reply
    assert reply.endswith("554 5.4.6 Kenmerk / reference: id6")
    assert len(desk.messages) == 5
