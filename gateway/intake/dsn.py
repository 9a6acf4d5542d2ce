"""The parameters of RFC 3461: when and how a sender wants to hear (A-26).

Values are kept letter for letter; only the keywords of ours are read. A recipient that
is named twice is there once, and nobody hears less than he asked for in either.
"""

import re

from gateway.intake import answer
from gateway.intake.answer import Refusal
from gateway.intake.path import Parameters, upper
from gateway.model.message import Notify, RecipientWish, Ret

MAX_ENVID = 100
MAX_ORCPT = 500
_DEFAULT = frozenset({Notify.FAILURE, Notify.DELAY})  # RFC 3461 section 4.1
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"  # section 4
# RFC 6533 section 3: no "+" and "\" of their own; code points as \x{...}.
_UNITEXT = r"(?:[!-*,-<>-\[\]-~\u0080-\ud7ff\ue000-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+"
_ENVID = re.compile(rf"{_XTEXT}\Z")
_ATOM = r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+"
_ORCPT = re.compile(rf"(?!(?i:utf-8);){_ATOM};{_XTEXT}\Z")
_ORCPT_UTF8 = re.compile(rf"(?i:utf-8);{_UNITEXT}\Z")


def parse_ret(parameters: Parameters) -> Ret | None:
    """RET of MAIL.

    Raises:
        Refusal: 501 5.5.4.
    """
    if "RET" not in parameters:
        return None
    try:
        return Ret(upper(parameters["RET"] or ""))
    except ValueError:
        raise Refusal(answer.BAD_ARGUMENT) from None


def parse_envid(parameters: Parameters) -> str | None:
    """ENVID of MAIL, as it came.

    Raises:
        Refusal: 501 5.5.4.
    """
    if "ENVID" not in parameters:
        return None
    text = parameters["ENVID"] or ""
    if len(text) > MAX_ENVID or not _ENVID.match(text):
        raise Refusal(answer.BAD_ARGUMENT)
    return text


def parse_recipient_wish(parameters: Parameters) -> RecipientWish:
    """NOTIFY and ORCPT of one RCPT.

    Raises:
        Refusal: 501 5.5.4.
    """
    return RecipientWish(_notify(parameters), _orcpt(parameters))


def both_wishes(first: RecipientWish, second: RecipientWish) -> RecipientWish:
    """Of a recipient that is named twice: all that was asked; the first ORCPT."""
    orcpt = first.orcpt or second.orcpt
    if first.notify == second.notify:
        return RecipientWish(first.notify, orcpt)
    asked = (first.notify or _DEFAULT) | (second.notify or _DEFAULT)
    return RecipientWish(asked - {Notify.NEVER}, orcpt)


def _notify(parameters: Parameters) -> frozenset[Notify] | None:
    if "NOTIFY" not in parameters:
        return None
    words = upper(parameters["NOTIFY"] or "").split(",")
    try:
        asked = frozenset(Notify(word) for word in words)
    except ValueError:
        raise Refusal(answer.BAD_ARGUMENT) from None
    if len(asked) != len(words) or (Notify.NEVER in asked and len(asked) > 1):
        raise Refusal(answer.BAD_ARGUMENT)
    return asked


def _orcpt(parameters: Parameters) -> str | None:
    if "ORCPT" not in parameters:
        return None
    text = parameters["ORCPT"] or ""
    if len(text.encode()) > MAX_ORCPT:
        raise Refusal(answer.BAD_ARGUMENT)
    if not (_ORCPT.match(text) or _ORCPT_UTF8.match(text)):
        raise Refusal(answer.BAD_ARGUMENT)
    return text
