"""What stands behind MAIL and RCPT: one path, and its parameters (A-08, A-24, A-26).

A path is `<local-part@domain>`; MAIL also takes `<>`, RCPT also `<postmaster>`. The
grammar of the address itself is `gateway.model.address`. Nothing is reinterpreted: a
percent sign, an exclamation mark or a quoted `@` in a local-part is a character of that
local-part; a source route, a comment or an encoded word is a syntax error.

A space after the colon is let through: it is a common fault of printers and scanners,
and it cannot change who is meant.
"""

import re
from collections.abc import Mapping

from gateway.intake import answer
from gateway.intake.answer import Refusal
from gateway.model.address import AddressError, Domain, Mailbox, ReversePath
from gateway.model.message import Body
from gateway.model.reply import Reply

Parameters = Mapping[str, str | None]

# Possessive repeats: no input makes this slow.
_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*+"|[^<>"\s])*+)>(?= |\Z)')
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
# Printable, without space and "="; nor surrogates: they stand for what is no UTF-8.
_VALUE = re.compile(r"[!-<>-~\u0080-\ud7ff\ue000-\U0010ffff]+\Z")
_DIGITS = re.compile(r"[0-9]+\Z")
_SIZE_DIGITS = 20


def parse_reverse_path(argument: str) -> tuple[ReversePath, Parameters]:
    """Parse the argument of MAIL.

    Args:
        argument: All behind the verb, e.g. `FROM:<a@b.nl> SIZE=10`; octets that are no
            UTF-8 as surrogates.

    Raises:
        Refusal: 501 5.5.4, 501 5.1.7 or 553 5.6.7.
    """
    path, parameters = _split(argument, "FROM:", answer.BAD_SENDER)
    smtputf8 = parse_flag(parameters, "SMTPUTF8")
    _check_ascii(argument, smtputf8=smtputf8)
    if not path:
        return ReversePath(None), parameters
    mailbox = _mailbox(path, answer.BAD_SENDER, smtputf8=smtputf8)
    return ReversePath(mailbox), parameters


def parse_recipient(
    argument: str, home: Domain | None, *, smtputf8: bool = False
) -> tuple[Mailbox, Parameters]:
    """Parse the argument of RCPT.

    Args:
        argument: All behind the verb, e.g. `TO:<a@b.nl>`; see `parse_reverse_path`.
        home: The domain of `<postmaster>` without one (A-07); None: it has none.
        smtputf8: Whether MAIL said so.

    Raises:
        Refusal: 501 5.5.4, 501 5.1.3 or 553 5.6.7.
    """
    path, parameters = _split(argument, "TO:", answer.BAD_RECIPIENT)
    _check_ascii(argument, smtputf8=smtputf8)
    if path.lower() == "postmaster" and home is not None:
        return Mailbox(path, home), parameters
    return _mailbox(path, answer.BAD_RECIPIENT, smtputf8=smtputf8), parameters


def parse_flag(parameters: Parameters, keyword: str) -> bool:
    """Whether a parameter that has no value was given (SMTPUTF8, REQUIRETLS).

    Raises:
        Refusal: 501 5.5.4, when it has one.
    """
    if parameters.get(keyword) is not None:
        raise Refusal(answer.BAD_ARGUMENT)
    return keyword in parameters


def parse_size(parameters: Parameters) -> int:
    """The SIZE parameter of MAIL, 0 when there is none (RFC 1870 section 4).

    Raises:
        Refusal: 501 5.5.4.
    """
    text = parameters.get("SIZE", "0")
    if text is None or not _DIGITS.match(text) or len(text) > _SIZE_DIGITS:
        raise Refusal(answer.BAD_ARGUMENT)
    return int(text)


def parse_body(parameters: Parameters) -> Body:
    """The BODY parameter of MAIL, 7BIT when there is none (RFC 6152).

    Raises:
        Refusal: 501 5.5.4, also for BINARYMIME, which is not offered.
    """
    try:
        return Body(upper(parameters.get("BODY", "7BIT") or ""))
    except ValueError:
        raise Refusal(answer.BAD_ARGUMENT) from None


def upper(text: str) -> str:
    """Keywords compare without case, in ASCII only: no other letter becomes one."""
    return text.upper() if text.isascii() else text


def _split(argument: str, keyword: str, bad: Reply) -> tuple[str, Parameters]:
    if upper(argument[: len(keyword)]) != keyword:
        raise Refusal(answer.BAD_ARGUMENT)
    rest = argument[len(keyword) :].lstrip(" ")
    match = _PATH.match(rest)
    if match is None:
        raise Refusal(bad)
    return match[1], _parameters(rest[match.end() :])


def _parameters(text: str) -> Parameters:
    parameters: dict[str, str | None] = {}
    for token in text.split(" "):
        if not token:
            continue
        keyword, equals, value = token.partition("=")
        keyword = upper(keyword)
        if not _KEYWORD.match(keyword) or keyword in parameters:
            raise Refusal(answer.BAD_ARGUMENT)
        # AUTH=<> and xtext are printable; a value may not hold another "=" by RFC 5321,
        # which nobody who sends one means as two parameters.
        if equals and not _VALUE.match(value):
            raise Refusal(answer.BAD_ARGUMENT)
        parameters[keyword] = value if equals else None
    return parameters


def _check_ascii(argument: str, *, smtputf8: bool) -> None:
    """Only ASCII without SMTPUTF8, also in a parameter (RFC 6531 section 3.4)."""
    if not smtputf8 and not argument.isascii():
        raise Refusal(answer.NOT_ASCII)


def _mailbox(path: str, bad: Reply, *, smtputf8: bool) -> Mailbox:
    try:
        return Mailbox.parse(path, smtputf8=smtputf8)
    except AddressError:
        raise Refusal(bad) from None
