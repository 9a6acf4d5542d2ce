"""The MIME walk: everything readable is a segment, everything else is said."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.extract import mime, reading
from gateway.extract.mime import MimeExtractor, read
from gateway.model.address import ReversePath
from gateway.model.ids import MessageId
from gateway.model.message import Envelope, Message

HEAD = b"From: Ambtenaar <a@voorbeeldstad.example>\r\nSubject: weekbericht\r\n"
SECRET = "crisismaatregel café"


def mail(fields: str, body: bytes | str = b"") -> bytes:
    octets = body.encode() if isinstance(body, str) else body
    return HEAD + fields.replace("\n", "\r\n").encode() + b"\r\n\r\n" + octets


def multipart(*parts: str, kind: str = "mixed") -> bytes:
    body = "".join(f"--B\r\n{part}\r\n" for part in parts) + "--B--\r\n"
    return mail(
        f'MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary="B"', body
    )


def texts(document) -> str:
    return "\n".join(segment.text for segment in document.segments)


def reasons(document) -> list[str]:
    return [part.reason for part in document.unreadable]


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_subject_and_body_are_segments_in_order():
    document = read(mail("Content-Type: text/plain; charset=utf-8", SECRET))

    places = [segment.place for segment in document.segments]
    assert places == ["subject", "header:from", "body/1"]
    assert SECRET in texts(document)
    assert document.unreadable == ()


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8"),
        ("iso-8859-1", "latin-1"),
        ("ISO-8859-15", "iso-8859-15"),
        ("windows-1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16le", "utf-16-le"),
        ("utf-32", "utf-32"),
        ("utf-7", "utf-7"),
        ("macroman", "mac-roman"),
        ("ibm850", "cp850"),
        ("cp037", "cp037"),
    ],
)
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_the_same_words_are_read_in_every_charset_and_encoding(
    charset, codec, encoding
):
    octets = SECRET.encode(codec)
    body = (
        base64.encodebytes(octets)
        if encoding == "base64"
        else "".join(f"={octet:02X}" for octet in octets).encode()
    )
    fields = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}"

    document = read(mail(fields, body))

    assert SECRET in texts(document)
    assert document.unreadable == ()


@pytest.mark.parametrize("label", ["us-ascii", "utf-8", ""])
def test_a_wrong_or_missing_label_does_not_hide_a_text(label):
    charset = f"; charset={label}" if label else ""

    document = read(mail(f"Content-Type: text/plain{charset}", SECRET.encode("cp1252")))

    assert SECRET in texts(document)
    assert document.unreadable == ()


@pytest.mark.parametrize("label", ["x-geheim", "rot13", "base64", "idna", "punycode"])
def test_an_unknown_charset_is_read_as_well_as_can_be_and_said(label):
    document = read(
        mail(f"Content-Type: text/plain; charset={label}", "zorgmachtiging")
    )

    assert "zorgmachtiging" in texts(document)
    assert reasons(document) == ["charset"]


def test_text_behind_base64_padding_is_read():
    body = b64(b"Een.") + b64(b"zorgmachtiging")
    assert "=" in body[:-2]

    document = read(
        mail("Content-Type: text/plain\nContent-Transfer-Encoding: base64", body)
    )

    assert "zorgmachtiging" in texts(document)


def test_base64_with_junk_between_is_read():
    body = "!".join(b64(b"een zorgmachtiging hier"))

    document = read(
        mail("Content-Type: text/plain\nContent-Transfer-Encoding: base64", body)
    )

    assert "zorgmachtiging" in texts(document)


def test_every_text_type_is_read_and_a_calendar_is_unfolded():
    document = read(
        multipart(
            "Content-Type: text/csv\r\n\r\nnaam;titel\r\nA;zorgmachtiging",
            "Content-Type: text/calendar\r\n\r\nDESCRIPTION:crisis\r\n maatregel\\, om drie",
            "Content-Type: text/vcard\r\n\r\nNOTE:hoorverslag",
            "Content-Type: application/ics\r\n\r\nSUMMARY:zelfbinding",
            "Content-Type: image/svg+xml\r\n\r\n<svg><text>zorgkaart</text></svg>",
        )
    )

    places = {segment.place for segment in document.segments}
    assert {"csv/2", "calendar/3", "text/4", "calendar/5", "html/6"} <= places
    assert "crisismaatregel, om drie" in texts(document)
    assert "zorgkaart" in texts(document)
    assert document.unreadable == ()


def test_a_message_within_a_message_is_walked_with_its_subject_and_file_names():
    inner = (
        "Subject: =?utf-8?q?zorg=6dachtiging?=\r\nContent-Type: text/plain;"
        ' name="hoor.txt"\r\n\r\nverkennend onderzoek'
    )
    document = read(multipart(f"Content-Type: message/rfc822\r\n\r\n{inner}"))

    assert {"subject/2", "body/3", "filename/3"} <= {
        segment.place for segment in document.segments
    }
    assert "zorgmachtiging" in texts(document)
    assert "verkennend onderzoek" in texts(document)


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
        'Content-Type: application/octet-stream; name="a.eml"\r\nContent-Transfer-Encoding: base64',
    ],
)
def test_an_attached_message_in_base64_is_walked(fields):
    inner = b64(b"Subject: x\r\n\r\nzorgmachtiging")

    document = read(multipart(f"{fields}\r\n\r\n{inner}"))

    assert "zorgmachtiging" in texts(document)


def test_a_nameless_type_is_read_by_its_file_name_only():
    document = read(
        multipart(
            'Content-Type: application/octet-stream; name="lijst.csv"\r\n\r\nzorgmachtiging',
            'Content-Type: application/octet-stream; name="lijst.xyz"\r\n\r\nhoorverslag',
        )
    )

    assert "zorgmachtiging" in texts(document)
    assert "hoorverslag" not in texts(document)
    assert reasons(document) == ["unknown-format"]


def test_a_file_name_is_a_segment_in_all_its_spellings():
    document = read(
        multipart(
            'Content-Type: application/pdf; name="een.pdf"\r\n'
            "Content-Disposition: attachment; filename*0*=utf-8''zorg; filename*1=machtiging.pdf"
            "\r\n\r\nx"
        )
    )

    names = [s.text for s in document.segments if s.place.startswith("filename/")]
    assert names == ["zorgmachtiging.pdf", "een.pdf"]
    assert document.unreadable[0].place == "part/2:application/pdf"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("Content-Type: application/pdf\r\n\r\n%PDF-1.7", "unknown-format"),
        ("Content-Type: application/zip\r\n\r\nPK", "unknown-format"),
        ("Content-Type: audio/mpeg\r\n\r\nID3", "unknown-format"),
        ("Content-Type: image/png\r\n\r\nPK no picture", "unknown-format"),
        ("Content-Type: message/external-body\r\n\r\nx", "parser-failure"),
        ("Content-Type: message/partial\r\n\r\nA: b\r\n\r\nx", "unknown-format"),
        (
            "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nx",
            "encrypted",
        ),
        ("Content-Type: application/pkcs7-mime\r\n\r\nx", "encrypted"),
        (
            "Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nx",
            "unknown-format",
        ),
        ("Content-Type: text/plain\r\n\r\n-----BEGIN PGP MESSAGE-----", "encrypted"),
        (
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-eigen\r\n\r\nx",
            "parser-failure",
        ),
        (
            "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx",
            "parser-failure",
        ),
        ("Content-Type: multipart/mixed\r\n\r\nzonder grens", "parser-failure"),
        (
            "Content-Type: application/pgp-signature\r\n\r\neen verslag",
            "unknown-format",
        ),
    ],
)
def test_what_cannot_be_read_for_sure_is_said_with_its_reason(part, reason):
    document = read(multipart(part))

    assert reason in reasons(document)
    assert all("/" in part.place for part in document.unreadable)


def test_an_encrypted_multipart_is_one_unreadable_part():
    document = read(
        multipart(
            "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1",
            "Content-Type: application/octet-stream\r\n\r\nx",
            kind="encrypted",
        )
    )

    assert [(p.place, p.reason) for p in document.unreadable] == [
        ("part/1:multipart/encrypted", "encrypted")
    ]


def test_a_report_is_read_with_its_fields():
    document = read(
        multipart(
            "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; zorgmachtiging\r\n"
            "\r\nAction: failed\r\n"
        )
    )

    assert "zorgmachtiging" in texts(document)
    assert document.unreadable == ()


def test_text_outside_the_parts_is_read_as_hidden():
    body = "zorgmachtiging\r\n--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--\r\nhoorverslag"

    document = read(mail('Content-Type: multipart/mixed; boundary="B"', body))

    hidden = [s.text for s in document.segments if s.place == "hidden/1"]
    assert "zorgmachtiging" in hidden[0]
    assert "hoorverslag" in hidden[1]


def test_html_without_charset_is_read_by_its_own_meta():
    html = b'<meta charset="iso-8859-5"><p>' + "крест".encode("iso-8859-5")

    document = read(mail("Content-Type: text/html", html))

    assert "крест" in texts(document)


def test_too_deep_markup_is_read_without_a_tree_and_said():
    document = read(mail("Content-Type: text/html", "<div>" * 9000 + "zorgmachtiging"))

    assert "zorgmachtiging" in texts(document)
    assert reasons(document) == ["limit"]


def test_a_part_more_than_the_limit_is_said_once():
    parts = ["Content-Type: text/plain\r\n\r\nx"] * (reading.MAX_PARTS + 50)

    document = read(multipart(*parts))

    assert reasons(document) == ["limit"]


def test_nesting_deeper_than_the_limit_is_said():
    message = "Content-Type: text/plain\r\n\r\nzorgmachtiging"
    for _ in range(reading.MAX_DEPTH + 5):
        message = f"Content-Type: message/rfc822\r\n\r\n{message}"

    document = read(HEAD + message.encode())

    assert "limit" in reasons(document)


def test_ten_thousand_nested_parts_end_in_an_unreadable_part():
    body = "".join(
        f'--b{at}\r\nContent-Type: multipart/mixed; boundary="b{at + 1}"\r\n\r\n'
        for at in range(10_000)
    )

    document = read(mail('Content-Type: multipart/mixed; boundary="b0"', body))

    assert document.unreadable


def test_more_boundary_lines_than_the_parser_may_build_are_read_as_one_text():
    body = "--B\r\n\r\nx\r\n" * 25_000 + "zorgmachtiging"

    document = read(mail('Content-Type: multipart/mixed; boundary="B"', body))

    assert "zorgmachtiging" in texts(document)
    assert "limit" in reasons(document)


@pytest.mark.parametrize("fields", ["X: y\n" * 1001, f"X: {'y' * 300_000}\n"])
def test_a_header_over_the_limit_is_said(fields):
    document = read(mail(fields.rstrip("\n")))

    assert reasons(document) == ["limit"]


def test_message_id_and_automatic_submission_are_read_from_the_fields():
    document = read(
        mail("Message-ID: <a@b.example>\nAuto-Submitted: auto-replied (vacation)")
    )

    assert document.message_id == "<a@b.example>"
    assert document.auto_submitted
    twice = read(mail("Message-ID: <a@b>\nMessage-ID: <c@d>\nAuto-Submitted: No"))
    assert twice.message_id is None
    assert not twice.auto_submitted
    assert read(mail("Message-ID: \x01")).message_id is None


@given(octets=st.binary(max_size=2000))
@settings(max_examples=150, deadline=None)
def test_no_octets_make_it_raise(octets):
    for message in (octets, HEAD + octets, HEAD + b"\r\n" + octets):
        assert isinstance(read(message).segments, tuple)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_mutation_of_a_real_message_makes_it_raise(data):
    octets = bytearray(
        multipart(
            "Content-Type: text/html; charset=utf-8\r\n\r\n<p>x<b>y</b></p>",
            "Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?x?=\r\n\r\ny",
        )
    )
    for _ in range(data.draw(st.integers(1, 20))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(
            st.integers(0, 255)
        )

    read(bytes(octets))


def test_a_parser_that_breaks_gives_an_unreadable_message(monkeypatch):
    def broken(octets):
        raise RecursionError

    monkeypatch.setattr(reading, "parse_entity", broken)

    document = read(mail(""))

    assert reasons(document) == ["parser-failure"]
    assert document.authors_faulty


def test_a_part_that_breaks_does_not_take_the_others_along(monkeypatch):
    def broken(html):
        raise ValueError(html)

    monkeypatch.setattr(reading, "read_html", broken)

    document = read(
        multipart(
            "Content-Type: text/html\r\n\r\n<p>x",
            "Content-Type: text/plain\r\n\r\nblijft",
        )
    )

    assert "blijft" in texts(document)
    assert reasons(document) == ["parser-failure"]


def test_fields_that_break_the_author_parser_leave_the_authors_faulty(monkeypatch):
    def broken(message):
        raise ValueError

    monkeypatch.setattr(reading, "authors_of", broken)

    document = read(mail("", "blijft"))

    assert document.authors_faulty
    assert "blijft" in texts(document)
    assert reasons(document) == ["parser-failure"]


@pytest.mark.parametrize("size", [10, mime.THREAD_FROM_OCTETS])
async def test_the_extractor_reads_small_and_large_messages_alike(size):
    octets = mail("Content-Type: text/plain", "zorgmachtiging " + "x" * size)
    envelope = Envelope(ReversePath(None), ())
    message = Message(MessageId("m"), envelope, octets, None)

    document = await MimeExtractor().extract(message)

    assert read(octets) == document


def test_places_of_unreadable_parts_hold_no_file_name():
    document = read(multipart('Content-Type: "geheim"/x; name="Jansen.pdf"\r\n\r\nx'))

    assert "Jansen" not in " ".join(part.place for part in document.unreadable)
