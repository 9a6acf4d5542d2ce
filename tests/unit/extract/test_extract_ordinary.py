"""Ordinary life stays readable: odd but legal mail is no part that could not be read."""

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from gateway.extract.mime import read

HEAD = (
    "From: Ambtenaar <a@voorbeeldstad.example>\r\nTo: b@elders.example\r\n"
    "Subject: weekbericht\r\nMIME-Version: 1.0\r\n"
)
TEXT = "Content-Type: text/plain; charset=utf-8\r\n\r\nGoedemorgen allemaal"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20\x08\x06\0\0\0"
ARMOUR = (
    "-----BEGIN PGP SIGNATURE-----\r\nVersion: GnuPG v2\r\nComment: https://x.example\r\n"
    "\r\niQIzBAEBCAAdFiEEm7fPo1mdK8l9qnYQ0Yh3j1q2Z5kFAmAAAAAACgkQ0Yh3j1q2\r\n"
    "Z5kkPw//aaaa\r\n=abcd\r\n-----END PGP SIGNATURE-----\r\n"
)


def multipart(
    *parts: str, kind: str = "mixed", after: str = "", before: str = ""
) -> str:
    body = "".join(f"\r\n--=_b.1\r\n{part}" for part in parts)
    return (
        f'{HEAD}Content-Type: multipart/{kind};\r\n\tboundary="=_b.1"\r\n\r\n'
        f"{before}{body}\r\n--=_b.1--\r\n{after}"
    )


def encoded(fields: str, octets: bytes) -> str:
    text = base64.encodebytes(octets).decode().replace("\n", "\r\n")
    return f"{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}"


def signed(encoding: serialization.Encoding) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Voorbeeldstad")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    builder = pkcs7.PKCS7SignatureBuilder().set_data(TEXT.encode())
    builder = builder.add_signer(certificate, key, hashes.SHA256())
    return builder.sign(encoding, [pkcs7.PKCS7Options.DetachedSignature])


CALENDAR = (
    "Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n"
    "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nATTENDEE;CN=Jan;RSVP=TRUE:mailto:j@x.example\r\n"
    'DESCRIPTION;ALTREP="data:text/html,overleg":Overleg\\nover de\r\n  begroting\r\n'
    f"ATTACH;ENCODING=BASE64;VALUE=BINARY:{base64.b64encode(PNG).decode()}\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)
NEWSLETTER = (
    "<!DOCTYPE html><html><head><style>@media screen{.x>p{content:none}}</style></head>"
    "<body><div style='display:none;font-size:0'>preheader</div>"
    "<table style='font-size:0'><tr><td><p style='font-size:16px'>Nieuws</p></td></tr>"
    "</table><a href='mailto:a@x.example?subject=Afmelden%20graag'>afmelden</a>"
    f"<img src='data:image/png;base64,{base64.b64encode(PNG).decode()}'></body></html>"
)

ORDINARY = {
    "plain": f"{HEAD}{TEXT}",
    "no type at all": f"{HEAD}\r\nhallo",
    "type of old programs": f"{HEAD}Content-Type: text\r\n\r\nhallo",
    "preamble, and the footer of a mailing list": multipart(
        TEXT,
        before="This is a multi-part message in MIME format.\r\n",
        after="\r\n-- \r\nafmelden: lijst@x.example\r\n_______\r\n",
    ),
    "alternative in mixed, boundaries that begin alike": multipart(
        'Content-Type: multipart/alternative; boundary="=_b.1_alt"\r\n\r\n'
        f"--=_b.1_alt\r\n{TEXT}\r\n--=_b.1_alt\r\nContent-Type: text/html\r\n\r\n<p>x\r\n"
        "--=_b.1_alt--\r\n"
    ),
    "no last delimiter": multipart(TEXT).replace("--=_b.1--", ""),
    "spaces behind the delimiter": multipart(TEXT).replace(".1\r\n", ".1 \t\r\n"),
    "PGP signature": multipart(
        TEXT, f"Content-Type: application/pgp-signature\r\n\r\n{ARMOUR}", kind="signed"
    ),
    "S/MIME signature": multipart(
        TEXT,
        encoded(
            "Content-Type: application/pkcs7-signature; name=smime.p7s",
            signed(serialization.Encoding.DER),
        ),
        kind="signed",
    ),
    "logo and photograph": multipart(
        TEXT,
        encoded("Content-Type: image/png; name=logo.png\r\nContent-ID: <x>", PNG),
        encoded("Content-Type: image/jpeg; name=IMG_1.JPG", b"\xff\xd8\xff\xc0\0\x11\x08"
                b"\0\x60\0\x80"),
    ),
    "invitation": multipart(TEXT, CALENDAR, kind="alternative"),
    "invitation by another type": multipart(
        TEXT, CALENDAR.replace("text/calendar", "application/ics; name=invite.ics")
    ),
    "contact with a face": multipart(
        TEXT,
        "Content-Type: text/vcard; name=jan.vcf\r\n\r\nBEGIN:VCARD\r\nFN:Jan\r\n"
        f"PHOTO;ENCODING=b;TYPE=PNG:{base64.b64encode(PNG).decode()}\r\nEND:VCARD\r\n",
    ),
    "forwarded message with a fold of white space only": multipart(
        "Content-Type: message/rfc822\r\n\r\nReceived: from a\r\n\tby b; Thu, 1 Jan 2026\r\n"
        "Subject: oud\r\n \r\nX: y\r\n\r\nhallo"
    ),
    "forwarded from a mailbox file": multipart(
        "Content-Type: message/rfc822\r\n\r\n>From jan Thu Jan  1 00:00:00 2026\r\n"
        "Subject: oud\r\n\r\nhallo"
    ),
    "digest": multipart("\r\nSubject: een\r\n\r\nhallo", kind="digest"),
    "bounce": multipart(
        TEXT,
        "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x.example\r\n\r\n"
        "Final-Recipient: rfc822; b@x.example\r\nAction: failed\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\nSubject: =?utf-8?q?h=C3=A9?=\r\n",
        kind="report",
    ),
    "newsletter": f"{HEAD}Content-Type: text/html; charset=utf-8\r\n\r\n{NEWSLETTER}",
    "file name in both forms": multipart(
        "Content-Type: text/plain; charset=utf-8; charset=utf-8; name=a.txt\r\n"
        "Content-Disposition: attachment; filename=a.txt; filename*=utf-8''%C3%A1.txt\r\n\r\nx"
    ),
    "one base64 text behind another": f"{HEAD}Content-Type: text/plain\r\n"
    f"Content-Transfer-Encoding: base64\r\n\r\n{base64.b64encode(b'hallo').decode()}\r\n"
    "-- \r\nafmelden",
    "UTF-16 with its mark": f"{HEAD}"
    + encoded("Content-Type: text/plain; charset=utf-16", "hallo".encode("utf-16")),
    "flowed": f"{HEAD}Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\nbegin maar",
    "line ends of another system": f"{HEAD}{TEXT}".replace("\r\n", "\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_mail_is_read_without_doubt(name):
    document = read(ORDINARY[name].encode())

    assert document.unreadable == ()
    assert not document.authors_faulty
    texts = " ".join(segment.text for segment in document.segments)
    assert any(
        word in texts for word in ("hallo", "Goedemorgen", "Nieuws", "x", "begin")
    )
