"""Reasons to sentences: what stopped a message and what to do, Dutch and English.

The texts are in `nl.toml` and `en.toml`, read once. Nothing here says what a message
was about beyond the regime's name, and nothing repeats its content or subject (G-12).
Texts that go into an SMTP reply are printable ASCII.
"""

import dataclasses
import datetime
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from gateway.config import Municipality
from gateway.model.address import Mailbox
from gateway.model.ids import Code
from gateway.model.reply import Reply
from gateway.model.verdict import Hold, Reason, Refuse, Relay

LANGUAGES: Final = ("nl", "en")
MAX_REPLY_LINES = 12
MAX_REPLY_OCTETS = 1800
MAX_LINE_OCTETS = 480
_MAX_NAMED_RECIPIENTS = 5
_MAX_PARAMETER = 80
_MAX_ROLES = 6
_LINE_OVERHEAD = len("550-5.7.10 \r\n")

# Where sending again may help the sender is told 4.x.x by the caller; see R10.
_ENHANCED: Final[Mapping[str, str]] = {
    "K401": "5.7.10",
    "K402": "5.4.3",
    "K403": "5.7.10",
    "K404": "5.7.5",
    "K405": "5.7.5",
    "K406": "5.4.1",
    "K407": "5.1.2",
    "K408": "5.4.4",
    "K409": "5.0.0",
    "K410": "5.4.2",
    "K411": "5.6.3",
    "K412": "5.7.10",
    "K413": "5.7.30",
    "K414": "5.6.7",
    "K415": "5.3.4",
    "K420": "5.4.7",
    "K421": "5.7.1",
    "K603": "5.7.1",
}
# While we keep trying (requirements, section J).
_RETRYING: Final[Mapping[str, str]] = {
    "K402": "4.4.3",
    "K403": "4.7.4",
    "K404": "4.7.5",
    "K405": "4.7.5",
    "K406": "4.4.1",
    "K409": "4.0.0",
    "K410": "4.4.2",
    "K412": "4.7.5",
    "K413": "4.7.30",
}
_ENHANCED_BY_FAMILY: Final[Mapping[str, str]] = {
    "K2": "5.7.1",
    "K3": "5.7.1",
    "K4": "5.7.10",
    "K5": "5.7.5",
    "K6": "5.6.0",
    "K9": "4.3.0",
}


def _load(language: str) -> Mapping[str, Any]:
    text = resources.files("gateway.texts").joinpath(f"{language}.toml")
    return tomllib.loads(text.read_text(encoding="utf-8"))


TEXTS: Final[Mapping[str, Mapping[str, Any]]] = {
    language: _load(language) for language in LANGUAGES
}


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """A reason in words: what happened and what to do, in both languages."""

    code: str  # "" for a plain word
    nl: str
    en: str
    do_nl: str = ""
    do_en: str = ""

    def what(self, language: str) -> str:
        """What happened."""
        return self.nl if language == "nl" else self.en

    def do(self, language: str) -> str:
        """What to do now; may be empty."""
        return self.do_nl if language == "nl" else self.do_en


@dataclasses.dataclass(frozen=True, slots=True)
class NoticeWords:
    """Subject and human part of a notice, Dutch first."""

    subject: str
    body: str


def enhanced_status(code: str) -> str:
    """The enhanced status that goes with a K-code when it is final (R10)."""
    return _ENHANCED.get(code) or _ENHANCED_BY_FAMILY.get(code[:2], "5.7.1")


def retry_status(code: str) -> str:
    """The enhanced status that goes with a K-code while we keep trying (J)."""
    return _RETRYING.get(code, "4.4.0")


def sentence(
    code: str, language: str, parameters: Iterable[tuple[str, str]] = ()
) -> str:
    """What happened, in one language.

    Args:
        code: A K-code; an unknown one gives the sentence of a fault of ours.
        language: `nl` or `en`.
        parameters: As in `Reason`; a missing one is shown as a dash.
    """
    entry = _entry(code, language)
    values = _values(parameters, language)
    text = _fill(entry["what"], values)
    if "resembles" in values and "resembles" in entry:
        text = f"{text} {_fill(entry['resembles'], values)}"
    return text


def remedy(
    code: str,
    language: str,
    parameters: Iterable[tuple[str, str]] = (),
    municipality: Municipality | None = None,
) -> str:
    """What to do now; the municipality's own alternatives go first (R23)."""
    entry = _entry(code, language)
    values = _values(parameters, language)
    private = values.get("recipient_kind") == "person"
    text = _fill(
        entry["do_person" if private and "do_person" in entry else "do"], values
    )
    if municipality is not None and "recipient_kind" in values and code != "K302":
        own = (
            municipality.alternative_person
            if private
            else municipality.alternative_unknown
        )
        if own is not None:
            return own[0] if language == "nl" else own[1]
    return text


def explain(reason: Reason, municipality: Municipality | None = None) -> Explained:
    """A reason in words, in both languages."""
    code, parameters = str(reason.code), reason.parameters
    return Explained(
        code,
        *(sentence(code, language, parameters) for language in LANGUAGES),
        *(remedy(code, language, parameters, municipality) for language in LANGUAGES),
    )


def explain_word(word: str) -> Explained:
    """A plain word for a recipient that needs no reason, e.g. `on-its-way`."""
    return Explained("", *(TEXTS[language]["word"][word] for language in LANGUAGES))


def with_word(explained: Explained, word: str) -> Explained:
    """The same with a sentence more, e.g. `uncertain`."""
    more = explain_word(word)
    return dataclasses.replace(
        explained, nl=f"{explained.nl} {more.nl}", en=f"{explained.en} {more.en}"
    )


def refusal(
    verdicts: Sequence[Refuse | Hold | Relay],
    reference: str,
    municipality: Municipality,
) -> Reply:
    """The reply to a message that is refused for all its recipients (R23).

    Args:
        verdicts: At least one is `Refuse`; others are passed over.
        reference: Our message id.
        municipality: Whose alternatives and page are named.

    Returns:
        550, or 451 when it is our own fault; at most 12 lines and 1,800 octets of
        ASCII: reasons and remedies in Dutch, then in English, the refused recipients,
        our reference and page.
    """
    refused = [verdict for verdict in verdicts if isinstance(verdict, Refuse)]
    reasons = list(dict.fromkeys(verdict.reason for verdict in refused))
    marks = _marks(reasons)
    explained = [explain(reason, municipality) for reason in reasons]
    last = reference_line(reference, municipality)
    said = _said(explained[:2], list(marks.values()))
    if _size([*said, last]) > MAX_REPLY_OCTETS // 2:
        said = _said(explained[:1], list(marks.values()))
    lines = [*said, *_recipient_lines(refused, marks, _size([*said, last])), last]
    status = enhanced_status(str(reasons[0].code))
    return Reply(451 if status.startswith("4") else 550, status, tuple(lines))


def _marks(reasons: Sequence[Reason]) -> Mapping[Reason, str]:
    """What ties a recipient to its reason: the code, with a number where need be.

    One code can have two reasons (a person, an unknown organisation) and remedies.
    """
    codes = [reason.code for reason in reasons]
    return {
        reason: f"{reason.code} [{number}]"
        if codes.count(reason.code) > 1
        else str(reason.code)
        for number, reason in enumerate(reasons, 1)
    }


def _said(explained: Sequence[Explained], marks: Sequence[str]) -> list[str]:
    return [
        _ascii(f"{mark} {one.what(language)} {one.do(language)}", MAX_LINE_OCTETS - 15)
        for language in LANGUAGES
        for one, mark in zip(explained, marks, strict=False)  # as many as are said
    ]


def reference_line(reference: str, municipality: Municipality | None = None) -> str:
    """Our reference, for both languages at once, and the page where there is one."""
    text = _fill(TEXTS["nl"]["refusal"]["reference"], {"reference": reference})
    page = f" - {municipality.page}" if municipality and municipality.page else ""
    return _ascii(f"{text}{page}", MAX_LINE_OCTETS - 15)


def _recipient_lines(
    refused: Sequence[Refuse], marks: Mapping[Reason, str], used: int
) -> list[str]:
    """As many recipients as there is room for, then how many more there are."""
    more = TEXTS["nl"]["refusal"]["more"]
    room = MAX_REPLY_OCTETS - used - _size([_fill(more, {"count": "9999"})])
    lines: list[str] = []
    for verdict in refused[:_MAX_NAMED_RECIPIENTS]:
        line = f"<{_address(verdict.recipient)}> ({marks[verdict.reason]})"
        room -= _size([line])
        if room < 0:
            break
        lines.append(line)
    left = len(refused) - len(lines)
    return [*lines, _fill(more, {"count": str(left)})] if left else lines


def _address(mailbox: Mailbox) -> str:
    """The address as validated; a local-part outside ASCII is left out of a reply."""
    text = str(mailbox)
    return text if text.isascii() and text.isprintable() else f"...@{mailbox.domain}"


def _size(lines: Iterable[str]) -> int:
    return sum(len(line) + _LINE_OVERHEAD for line in lines)


def notice(
    kind: str,
    lines: Sequence[tuple[str, Explained]],
    reference: str,
    until: datetime.datetime | None = None,
) -> NoticeWords:
    """The words of a notice to the sender, Dutch first, English below.

    Args:
        kind: `failed`, `delayed`, `held`, `hold-expired`, `split`, `relayed`.
        lines: Each recipient with what is said of it.
        reference: Our message id.
        until: When we give up; named when the kind has a sentence for it.
    """
    subject = " / ".join(TEXTS[lang]["notice"][kind]["subject"] for lang in LANGUAGES)
    parts = [_notice_part(kind, lines, reference, until, lang) for lang in LANGUAGES]
    return NoticeWords(subject, f"\n\n{'-' * 60}\n\n".join(parts) + "\n")


def _notice_part(
    kind: str,
    lines: Sequence[tuple[str, Explained]],
    reference: str,
    until: datetime.datetime | None,
    language: str,
) -> str:
    words, layout = (TEXTS[language]["notice"][key] for key in (kind, "layout"))
    blocks = [words["heading"]]
    for recipient, explained in lines:
        block = [_fill(layout["recipient"], {"recipient": recipient})]
        code = f" ({explained.code})" if explained.code else ""
        block.append(f"  {explained.what(language)}{code}")
        if explained.do(language):
            filled = _fill(layout["do"], {"do": explained.do(language)})
            block.append(f"  {filled}")
        blocks.append("\n".join(block))
    if until is not None and words["until"]:
        stamp = until.astimezone(datetime.UTC).strftime("%d-%m-%Y %H:%M UTC")
        blocks.append(_fill(words["until"], {"until": stamp}))
    blocks.append(words["closing"])
    blocks.append(
        _fill(layout["reference"], {"reference": reference})
        + f"\n{layout['automatic']}"
    )
    return "\n\n".join(blocks)


def _entry(code: str, language: str) -> Mapping[str, str]:
    codes: Mapping[str, Mapping[str, str]] = TEXTS[language]["code"]
    return codes.get(code, codes[Code("K901")])


def _values(parameters: Iterable[tuple[str, str]], language: str) -> dict[str, str]:
    """Parameters as words of the language; `regime_en` is the English of `regime`."""
    values = {key: _ascii(value, 10 * _MAX_PARAMETER) for key, value in parameters}
    if language == "en" and "regime_en" in values:
        values["regime"] = values["regime_en"]
    if "state" in values:
        values["state"] = TEXTS[language]["state"].get(values["state"], values["state"])
    if "roles" in values:
        roles = values["roles"].split(", ")
        names = [TEXTS[language]["role"].get(r, r.replace("_", " ")) for r in roles]
        others = " en anderen" if language == "nl" else " and others"
        more = others if len(names) > _MAX_ROLES else ""
        values["roles"] = ", ".join(names[:_MAX_ROLES]) + more
    clipped = {"partner", "regime", "resembles"} & values.keys()
    return values | {key: values[key][:_MAX_PARAMETER] for key in clipped}


class _Dashes(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "-"


def _fill(text: str, values: Mapping[str, str]) -> str:
    return text.format_map(_Dashes(values))


def _ascii(text: str, limit: int) -> str:
    """Printable ASCII of bounded length: accents dropped, the rest a question mark."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in plain)
    return plain if len(plain) <= limit else f"{plain[: limit - 3]}..."
