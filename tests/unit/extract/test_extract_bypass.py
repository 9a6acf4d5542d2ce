"""One case in many wrappings: its level is that of plain text, or at least unreadable.

Each row was called `none` by an earlier version (A-47). What a lenient reader would
show must never pass for harmless; what we read ourselves keeps its level.
"""

import base64
import binascii

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.extract.mime import read
from gateway.model.classification import Level
from gateway.policy.classify import classify
from tests.unit.policy import policy_desk as desk

CASE = (
    "Hierbij de crisismaatregel (art. 7:1 Wvggz) die vannacht is genomen voor "
    "betrokkene, mevrouw A. Verzonnen, geboren 03-04-1981, BSN 999994669, met de "
    "medische verklaring van de psychiater. De geneesheer-directeur is op de hoogte."
)
FROM = "From: a@gemeente.example\r\nTo: b@elders.example\r\n"
HEAD = f"{FROM}Subject: hallo\r\nMIME-Version: 1.0\r\n"
HEX = "".join(f"&#x{ord(c):x};" for c in CASE)
CERTAIN, UNREADABLE = Level.CERTAIN, Level.UNREADABLE


def level(message: str | bytes) -> Level:
    octets = message.encode() if isinstance(message, str) else message
    return classify(read(octets), desk.policy()).level


def b64(content: str | bytes) -> str:
    octets = content.encode() if isinstance(content, str) else content
    return base64.encodebytes(octets).decode().replace("\n", "\r\n")


def part(kind: str, content: str | bytes = CASE, extra: str = "") -> str:
    fields = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{extra}"
    return f"{fields}\r\n{b64(content)}"


def raw(kind: str, content: str, encoding: str = "7bit") -> str:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{content}"


def mixed(*parts: str, parameters: str = "boundary=aa", bound: str = "aa") -> str:
    body = "".join(f"--{bound}\r\n{one}\r\n" for one in parts)
    return f"{HEAD}Content-Type: multipart/mixed; {parameters}\r\n\r\n{body}--{bound}--\r\n"


def between(character: str) -> str:
    return HEAD + part("text/plain; charset=utf-8", character.join(CASE))


def html(content: str) -> str:
    return HEAD + part("text/html; charset=utf-8", content)


def uuencoded() -> str:
    octets = CASE.encode()
    chunks = (octets[at : at + 45] for at in range(0, len(octets), 45))
    lines = (binascii.b2a_uu(chunk).decode() for chunk in chunks)
    return "begin 644 zaak.txt\r\n" + "".join(lines) + "`\r\nend\r\n"


def hexed(prefix: str) -> str:
    return "".join(f"{prefix}{ord(c):02X}" for c in CASE)


WORD = base64.b64encode(CASE.encode("utf-16-be")).decode()
HELLO = "Content-Type: text/plain\r\n\r\nhallo"
DOUBLE = "boundary=aa; boundary=bb"
CONTINUED = "boundary=aa; boundary*0=b; boundary*1=b"
UNDER_BB = f"--bb\r\n{part('text/plain')}\r\n--bb--\r\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1"
INTERLEAVED = {
    f"U+{ord(c):04X}": c
    for c in "\0\x08\x1c\x7f\u034f\u0488\u06dd\u115f\u180f\u200b\u2062\u2800\ue000\ufe2f\ufff9"
    "\ufffc\ufffe\U0001d173\U000e0041\U000e0fff"
}

BYPASSES: dict[str, tuple[str | bytes, Level]] = {
    # Grammar of the header (finding 1).
    "obsolete field": (f"{HEAD}X-Foo : y\r\n{part('text/plain')}", CERTAIN),
    "obsolete subject": (f"{FROM}Subject : x\r\n{part('text/plain')}", CERTAIN),
    "obsolete field in a part": (mixed(f"X : y\r\n{part('text/plain')}"), CERTAIN),
    "obsolete type in a part": (
        mixed(part("text/plain").replace("Type:", "Type :")),
        CERTAIN,
    ),
    "blank fold, the reader stops there": (
        f"{HEAD}X: y\r\n \r\nContent-Transfer-Encoding: base64\r\n\r\n{CASE}",
        CERTAIN,
    ),
    "line without colon": (f"{HEAD}zomaar\r\n{part('text/plain')}", CERTAIN),
    "no separator": (f"{HEAD}{CASE}", CERTAIN),
    "no header in a part": (mixed(CASE), CERTAIN),
    # Boundaries.
    "two boundaries": (
        mixed(HELLO, parameters=DOUBLE) + UNDER_BB,
        UNREADABLE,
    ),
    "two boundaries, case first": (
        mixed(HELLO, parameters=DOUBLE).replace("\r\n\r\n", f"\r\n\r\n{UNDER_BB}", 1),
        UNREADABLE,
    ),
    "boundary in pieces as well": (
        mixed(HELLO, parameters=CONTINUED) + UNDER_BB,
        UNREADABLE,
    ),
    "parts behind the last delimiter": (
        mixed(HELLO) + f"--aa\r\n{part('text/plain')}\r\n--aa--\r\n",
        UNREADABLE,
    ),
    "delimiter that goes on": (
        mixed(f"{HELLO}\r\n--aabb\r\n{part('text/plain')}"),
        UNREADABLE,
    ),
    "type without subtype": (
        mixed(part("text/plain")).replace("multipart/mixed", "multipart"),
        UNREADABLE,
    ),
    "type with too much": (
        mixed(part("text/plain")).replace("multipart/mixed", "multipart/mixed/x"),
        UNREADABLE,
    ),
    # Charsets.
    "utf-16 without mark, big-endian": (
        HEAD + part("text/plain; charset=utf-16", CASE.encode("utf-16-be")),
        CERTAIN,
    ),
    "utf-32 without mark, big-endian": (
        HEAD + part("text/plain; charset=utf-32", CASE.encode("utf-32-be")),
        CERTAIN,
    ),
    "utf-16 in the other order": (
        HEAD + part("text/plain; charset=utf-16be", CASE.encode("utf-16-le")),
        CERTAIN,
    ),
    **{
        f"utf-16 called {label or 'nothing'}": (
            HEAD + part(f"text/plain{label}", CASE.encode("utf-16-le")),
            CERTAIN,
        )
        for label in ("", "; charset=utf-8", "; charset=iso-8859-1")
    },
    "ascii called utf-16": (HEAD + part("text/plain; charset=utf-16"), CERTAIN),
    "ascii called EBCDIC": (HEAD + part("text/plain; charset=cp037"), CERTAIN),
    "two charsets": (
        HEAD
        + part("text/plain; charset=cp037; charset=utf-8", CASE.encode("utf-16-be")),
        CERTAIN,
    ),
    "utf-16 in an encoded word": (
        f"{FROM}Subject: =?utf-16?B?{WORD}?=\r\n\r\nhallo\r\n",
        CERTAIN,
    ),
    # Characters that nobody sees.
    **{f"between: {name}": (between(c), CERTAIN) for name, c in INTERLEAVED.items()},
    # Transfer encodings.
    **{
        f"base64 called {name}": (HEAD + raw("text/plain", b64(CASE), name), CERTAIN)
        for name in ("7bit", "8bit", "binary", "quoted-printable")
    },
    "text called base64": (HEAD + raw("text/plain", CASE, "base64"), CERTAIN),
    "uuencode in the text": (HEAD + raw("text/plain", uuencoded()), UNREADABLE),
    "yEnc in the text": (
        HEAD + raw("text/plain", "=ybegin line=128 size=9 name=x\r\n"),
        UNREADABLE,
    ),
    "uuencode as the transfer encoding": (
        HEAD + raw("text/plain", f"{uuencoded()}geen regel!\r\n\r\n", "x-uuencode"),
        CERTAIN,
    ),
    "quoted-printable": (
        HEAD + raw("text/plain", hexed("="), "quoted-printable"),
        CERTAIN,
    ),
    # Types that are not what they say.
    "text/rtf": (HEAD + part("text/rtf", "{\\rtf1 " + hexed("\\'") + "}"), UNREADABLE),
    "rtf as text/plain": (
        HEAD + part("text/plain", "{\\rtf1 " + hexed("\\'") + "}"),
        UNREADABLE,
    ),
    "text/x-amp-html": (HEAD + part("text/x-amp-html", HEX), CERTAIN),
    "text/watch-html": (HEAD + part("text/watch-html", HEX), CERTAIN),
    "text/vnd.wap.wml": (HEAD + part("text/vnd.wap.wml", HEX), CERTAIN),
    "text/enriched": (
        HEAD + part("text/enriched", "<bold></bold>".join(CASE)),
        CERTAIN,
    ),
    "another text type": (HEAD + part("text/x-eigen", hexed("%")), UNREADABLE),
    "entities in a text named html": (
        HEAD + part("text/plain; name=a.html", HEX),
        CERTAIN,
    ),
    "archive called text": (HEAD + part("text/plain", b"PK\x03\x04x"), UNREADABLE),
    "text named as an archive": (HEAD + part("text/plain; name=a.zip"), UNREADABLE),
    "picture named as a document": (
        HEAD + part("image/png; name=a.docx", PNG + bytes(range(200))),
        UNREADABLE,
    ),
    "text below the mark of a PGP signature": (
        mixed(
            HELLO,
            raw(
                "application/pgp-signature",
                f"-----BEGIN PGP SIGNATURE-----\r\n{CASE}",
            ),
        ),
        UNREADABLE,
    ),
    "comment in a PGP signature": (
        mixed(
            HELLO,
            raw(
                "application/pgp-signature",
                f"-----BEGIN PGP SIGNATURE-----\r\nComment: {CASE}\r\n\r\n"
                "iQEzBAEB\r\n-----END PGP SIGNATURE-----",
            ),
        ),
        CERTAIN,
    ),
    "text behind the first octets of a CMS signature": (
        HEAD + part("application/pkcs7-signature", b"0\x82\r\n" + CASE.encode()),
        UNREADABLE,
    ),
    "iCalendar attachment": (
        HEAD
        + part(
            "text/calendar",
            "BEGIN:VCALENDAR\r\nATTACH;ENCODING=BASE64;VALUE=BINARY:"
            + base64.b64encode(CASE.encode()).decode(),
        ),
        CERTAIN,
    ),
    "iCalendar attachment that is no text": (
        HEAD
        + part(
            "text/calendar",
            "ATTACH;ENCODING=BASE64:" + base64.b64encode(b"PK\x03\x04\0").decode(),
        ),
        UNREADABLE,
    ),
    "vCard in quoted-printable": (
        HEAD
        + part("text/x-vcard", "NOTE;ENCODING=QUOTED-PRINTABLE:" + hexed("=") + "\r\n"),
        CERTAIN,
    ),
    # Places in HTML.
    "html: template": (html(f"<template><p>{CASE}</p></template>"), CERTAIN),
    "html: srcdoc": (html(f'<iframe srcdoc="<p>{CASE}</p>"></iframe>'), CERTAIN),
    "html: data address": (html(f"<object data='data:text/plain,{CASE}'>"), CERTAIN),
    "html: data address, base64": (
        html(
            "<iframe src='data:text/html;base64,"
            f"{base64.b64encode(CASE.encode()).decode()}'>"
        ),
        CERTAIN,
    ),
    "html: file in an address": (
        html("<a href='data:application/zip;base64,UEsDBAAA'>x</a>"),
        UNREADABLE,
    ),
    "html: mailto": (html(f"<a href='mailto:x@y.example?body={CASE}'>x</a>"), CERTAIN),
    "html: css content": (
        html(f"<style>p:before{{content:'{CASE}'}}</style><p>"),
        CERTAIN,
    ),
    "html: css content in escapes": (
        html(
            "<style>p:before{content:'" + hexed("\\0000") + "\\110000\\''}</style><p>"
        ),
        CERTAIN,
    ),
    "html: more tags than are parsed": (
        html("<br>" * 110_000 + CASE.replace("r", "&#114;")),
        CERTAIN,
    ),
    "html: documents in documents": (
        html("<iframe srcdoc='data:,x'></iframe>" + "<iframe srcdoc='<p>x'>" + CASE),
        CERTAIN,
    ),
    "html: PDF in an address": (
        html("<img src='data:application/pdf;base64,JVBERi0xLjcK'>x"),
        UNREADABLE,
    ),
    "html: backwards": (html(f"<bdo dir=rtl>{CASE[::-1]}</bdo>"), CERTAIN),
    "text: backwards": (HEAD + part("text/plain", "\u202e" + CASE[::-1]), CERTAIN),
    "html: letters without size": (
        html("<p>" + "<i style='font-size:0'>q</i>".join(CASE)),
        CERTAIN,
    ),
    # Fields.
    **{
        f"field {name}": (f'{HEAD}{name}: "{CASE}" <a@b.example>\r\n\r\nhallo', CERTAIN)
        for name in (
            "Bcc",
            "References",
            "In-Reply-To",
            "Organization",
            "X-Note",
            "Thread-Index",
            "Followup-To",
        )
    },
    "field in a part": (mixed(f"X-Note: {CASE}\r\n{HELLO}"), CERTAIN),
    "sentence in a trace field": (f"Received: ({CASE})\r\n{HEAD}\r\nhallo", CERTAIN),
    "8-bit letters in a raw subject": (
        f"{FROM}Subject: {CASE.replace('a', 'а')}\r\n\r\nhallo",
        CERTAIN,
    ),
    # Limits.
    "behind more text than is read": (
        HEAD + "\r\n" + "een regel tekst.\r\n" * 230_000 + CASE,
        UNREADABLE,
    ),
    "deeper than is read": (
        HEAD
        + "".join(
            f"Content-Type: multipart/mixed; boundary=b{at}x\r\n\r\n--b{at}x\r\n"
            for at in range(30)
        )
        + part("text/plain"),
        CERTAIN,
    ),
}


def test_the_plain_text_is_certain():
    assert level(f"{HEAD}\r\n{CASE}") is CERTAIN


@pytest.mark.parametrize("name", BYPASSES)
def test_no_wrapping_makes_a_case_harmless(name):
    message, least = BYPASSES[name]

    assert level(message) >= least


def test_ordinary_words_in_all_these_wrappings_are_not_called_sensitive():
    """The same structures must not themselves be a sign of a case."""
    wrapped = mixed(HELLO) + html("<p>hallo</p>")

    assert level(wrapped) <= UNREADABLE


LEAVES = st.sampled_from(
    [
        part("text/plain; charset=utf-8"),
        part("text/html", f"<p>{CASE}</p>"),
        part("text/plain; charset=utf-16", CASE.encode("utf-16-be")),
        raw("text/plain", CASE),
        raw("text/html", f"<div>{CASE}", "8bit"),
        part("Text / Plain (toelichting)"),
        f"\r\n{CASE}",
        CASE,
    ]
)
JUNK = st.sampled_from(
    [
        "X : y\r\n",
        "zomaar\r\n",
        " \r\n",
        "Content-Type: text/plain; charset=onzin\r\n",
        "Content-Transfer-Encoding: x-base64\r\n",
        "Content-Disposition: attachment; filename*0*=utf-8''a; filename=b.zip\r\n",
        "X: y\r\n \r\n",
        "Content-Type: multipart/mixed; boundary=q; boundary=z\r\n",
        "\0: \0\r\n",
        ">From x\r\n",
    ]
)
SOUP = st.lists(
    st.sampled_from(
        ["--q\r\n", "--q--\r\n", "--qq\r\n", "\r\n", "hallo\r\n", "--z\r\n", "\0", "--"]
    ),
    max_size=6,
).map("".join)


@st.composite
def entities(draw, depth: int = 0) -> str:
    """A tree in which one leaf holds the case, with junk of all sorts around it."""
    junk = "".join(draw(st.lists(JUNK, max_size=2)))
    shape = draw(st.sampled_from(["leaf", "multipart", "message"]))
    if depth > 3 or shape == "leaf":
        return junk + draw(LEAVES)
    inner = draw(entities(depth + 1))
    if shape == "message":
        return f"{junk}Content-Type: message/rfc822\r\n\r\n{inner}"
    bound = draw(st.sampled_from(["q", "qq", "z", "q q"]))
    declared = draw(
        st.sampled_from([f'"{bound}"', f'"{bound}" (c)', f'"{bound}"; boundary=z'])
    )
    order = draw(st.permutations([inner, HELLO]))
    body = "".join(f"--{bound}\r\n{one}\r\n" for one in order)
    return (
        f"{junk}Content-Type: multipart/mixed; boundary={declared}\r\n\r\n"
        f"{draw(SOUP)}{body}--{bound}--\r\n{draw(SOUP)}"
    )


@given(entity=entities(), cut=st.sampled_from(["\r\n", "\n", "\r"]))
@settings(max_examples=300, deadline=2000)
@example(entity=mixed(part("text/plain"))[len(HEAD) :], cut="\r")
def test_no_soup_of_parts_makes_a_case_harmless(entity, cut):
    message = (HEAD + entity).replace("\r\n", cut)

    assert level(message) > Level.NONE
