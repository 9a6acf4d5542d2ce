"""Every fixed reply of intake, and the exception that carries one out of a verb.

Replies are ASCII, name no host, path or product, and echo nothing of what the client
sent (A-11). Every line bears an enhanced status whose class is the first digit of the
code (A-27). The codes are those of requirements section J.
"""

from gateway.model.reply import Reply
from gateway.texts import render

_FOR_GOOD = 500


class Refusal(Exception):  # noqa: N818 - the field's word
    """A verb is answered with this reply; `close` ends the session after it."""

    def __init__(self, reply: Reply, *, close: bool = False) -> None:
        super().__init__(f"{reply.code} {reply.enhanced}")
        self.reply = reply
        self.close = close


def _reply(code: int, enhanced: str, *lines: str) -> Reply:
    return Reply(code, enhanced, lines)


def _explained(code: str) -> Reply:
    """A refusal with a code of its own, in the words that notices use too."""
    lines = (
        f"{code} {render.sentence(code, language)} {render.remedy(code, language)}"
        for language in render.LANGUAGES
    )
    return _reply(550, render.enhanced_status(code), *lines)


def _told(code: int, enhanced: str, dutch: str, english: str) -> Reply:
    """What a sender may see in a bounce: what stopped and what to do, Dutch first."""
    refused = "Bericht geweigerd: ", "Message refused: "
    return _reply(code, enhanced, refused[0] + dutch, refused[1] + english)


def is_for_people(reply: Reply) -> bool:
    """Whether it is a refusal that is said in both languages."""
    return reply.code >= _FOR_GOOD and len(reply.lines) > 1


def with_reference(reply: Reply, reference: str) -> Reply:
    """The same, with our reference as its last line (R23)."""
    last = render.reference_line(reference)
    return Reply(reply.code, reply.enhanced, (*reply.lines, last))


def _form(dutch: str, english: str) -> Reply:
    """The header must be written otherwise; who sent it is told what to repair."""
    return _reply(
        550,
        "5.6.0",
        f"K601 Bericht geweigerd: {dutch}",
        f"K601 Message refused: {english}",
    )


OK = _reply(250, "2.0.0", "OK")
SENDER_OK = _reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = _reply(250, "2.1.5", "Recipient OK")
READY_FOR_TLS = _reply(220, "2.0.0", "Ready to start TLS")
GOODBYE = _reply(221, "2.0.0", "Goodbye")
AUTHENTICATED = _reply(235, "2.7.0", "Authenticated")
CANNOT_VERIFY = _reply(252, "2.0.0", "Cannot verify; send the message to find out")
HELP = _reply(214, "2.0.0", "See RFC 5321")

SHUTTING_DOWN = _reply(421, "4.3.2", "Service is shutting down, try again later")
TOO_MANY_SESSIONS = _reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_FAILURES = _reply(421, "4.7.0", "Too many failed authentications")
TOO_MANY_ERRORS = _reply(421, "4.7.0", "Too many errors")
TOO_MANY_TRANSACTIONS = _reply(421, "4.7.0", "Too many messages, connect again")
TOO_SLOW = _reply(421, "4.4.2", "Timeout, closing connection")

FAULT = _reply(451, "4.3.0", "Local error, try again later")
STORE_FULL = _reply(452, "4.3.1", "Insufficient storage, try again later")
HANDSHAKE_LATER = _reply(454, "4.7.0", "TLS not available now, try again later")
AUTH_LATER = _reply(454, "4.7.0", "Too many failed authentications, try again later")
TOO_MANY_RECIPIENTS = _reply(452, "4.5.3", "Too many recipients, send the rest later")

BROKEN_LINE = _reply(500, "5.5.2", "Lines end with CR LF and hold no CR, LF or NUL")
LINE_TOO_LONG = _reply(500, "5.5.2", "Command line too long")
UNKNOWN_COMMAND = _reply(500, "5.5.2", "Command not recognized")
BAD_ARGUMENT = _reply(501, "5.5.4", "Syntax error in parameters or arguments")
BAD_SENDER = _told(
    501,
    "5.1.7",
    "het adres van de afzender is niet goed geschreven. Verbeter het.",
    "the sender's address is not well written. Correct it.",
)
BAD_RECIPIENT = _told(
    501,
    "5.1.3",
    "het adres van de ontvanger is niet goed geschreven. Verbeter het.",
    "the recipient's address is not well written. Correct it.",
)
BAD_BASE64 = _reply(501, "5.5.2", "Cannot decode response")
AUTH_CANCELLED = _reply(501, "5.7.0", "Authentication cancelled")
NOT_OFFERED = _reply(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = _reply(503, "5.5.1", "Bad sequence of commands")
GREET_FIRST = _reply(503, "5.5.1", "Send EHLO first")
NO_MECHANISM = _reply(504, "5.5.4", "Unrecognized authentication type")
TLS_NEEDED = _reply(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_NEEDED = _told(
    530,
    "5.7.0",
    "deze mailserver is hier niet bekend. Beheerder: meld aan met AUTH, of laat het"
    " netwerk of clientcertificaat registreren.",
    "this mail server is not known here. Administrator: authenticate (AUTH), or have"
    " its network or client certificate registered.",
)
BAD_CREDENTIALS = _reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_NEEDS_TLS = _reply(538, "5.7.11", "Encryption required for authentication")
RELAY_DENIED = _told(
    550,
    "5.7.1",
    "deze mailserver is hier niet bekend en mag niets doorsturen. Beheerder: laat het"
    " netwerk of clientcertificaat registreren.",
    "this mail server is not known here, relaying denied. Administrator: have its"
    " network or client certificate registered.",
)
SENDER_NOT_ALLOWED = _explained("K201")
TOO_BIG = _told(
    552,
    "5.3.4",
    "het is groter dan deze mailpoort aanneemt. Stuur kleinere of minder bijlagen, of"
    " deel ze op een andere veilige manier.",
    "it is larger than this gateway accepts. Send smaller or fewer attachments, or"
    " share them in another secure way.",
)
NOT_ASCII = _told(
    553,
    "5.6.7",
    "een adres is geen ASCII en SMTPUTF8 is niet gevraagd. Gebruik een adres zonder"
    " bijzondere tekens of een mailserver met SMTPUTF8.",
    "an address is not ASCII and SMTPUTF8 was not asked for. Use a plain address, or a"
    " mail server with SMTPUTF8.",
)
NO_VALID_RECIPIENTS = _reply(554, "5.5.1", "No valid recipients")
LOOP = _told(
    554,
    "5.4.6",
    "het gaat in een kring rond. Beheerder: zoek welke mailserver het terugstuurt.",
    "the message loops. Administrator: find the mail server that sends it back.",
)
NOT_SUPPORTED = _reply(555, "5.5.4", "Parameter not recognized or not implemented")

NOT_OF_TENANT = _reply(
    550,
    "5.7.1",
    "K201 Bericht geweigerd: de kop noemt niet precies een keer de organisatie waarvoor"
    " deze maildienst bij ons bekend is. Beheerder: zie de connector en client.tenant.",
    "K201 Message refused: the header does not name exactly once the organisation for"
    " which we know this mail service. Administrator: see connector and client.tenant.",
)
UTF8_NEEDED = _reply(
    553,
    "5.6.7",
    "Bericht geweigerd: de kop is geen ASCII en SMTPUTF8 is niet gevraagd."
    " Codeer kopregels (RFC 2047) of verzend met SMTPUTF8.",
    "Message refused: the header is not ASCII and SMTPUTF8 was not asked for."
    " Encode header fields (RFC 2047) or send with SMTPUTF8.",
)
BARE_NEWLINE = _reply(
    554,
    "5.5.2",
    "Bericht geweigerd: CR of LF staat er los in. Verzend regels met CR LF.",
    "Message refused: it holds a bare CR or LF. End lines with CR LF.",
)
NUL = _reply(
    550,
    "5.6.0",
    "Bericht geweigerd: het bevat een NUL-teken. Codeer de inhoud (base64).",
    "Message refused: it holds a NUL character. Encode the content (base64).",
)
LONG_LINE = _reply(
    554,
    "5.6.0",
    "Bericht geweigerd: een regel is te lang (norm: 998 tekens)."
    " Codeer de inhoud (quoted-printable of base64).",
    "Message refused: a line is too long (standard: 998 octets)."
    " Encode the content (quoted-printable or base64).",
)
CONTROL_IN_HEADER = _form(
    "een kopregel bevat een stuurteken. Verwijder het.",
    "a header field holds a control character. Remove it.",
)
HEADER_TOO_LONG = _form(
    "de kop is groter dan 256 kB. Verwijder kopregels.",
    "the header is over 256 kB. Remove header fields.",
)
FOLD_FIRST = _form(
    "de eerste regel begint met een spatie of tab. Begin met een kopregel.",
    "the first line begins with white space. Begin with a header field.",
)
FOLD_BLANK = _form(
    "een vervolgregel in de kop is leeg op spaties na. Verwijder die regel.",
    "a continuation line in the header holds only white space. Remove that line.",
)
LINE_NO_FIELD = _form(
    "een regel in de kop is geen kopregel. Schrijf Naam: zonder spatie voor de dubbele"
    " punt, en zet een lege regel tussen kop en tekst.",
    "a line in the header is no header field. Write Name: without a space before the"
    " colon, and put an empty line between header and text.",
)
NO_FROM = _form(
    "er is geen kopregel From. Zet de afzender erin.",
    "there is no From field. Add one that names the author.",
)


def field_twice(name: str) -> Reply:
    """The header has this field, one of our own list, more than once."""
    return _form(
        f"de kopregel {name} staat er meer dan eens. Laat er een staan.",
        f"the header has more than one {name} field. Leave one.",
    )
