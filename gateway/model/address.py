"""Envelope addresses: one grammar for the whole house (A-08, A-25).

A domain is a lower-case A-label name by IDNA2008, never a U-label or with a trailing
dot, and has at least two labels. A local-part is kept verbatim: we never fold, unquote
or transliterate it. What a later stage authorises is exactly what will be sent.
"""

import dataclasses
import hashlib
import re

import idna

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*\Z")
# UTF8-non-ascii of RFC 6531, without what is no character, ends a line for some parser
# (C1 controls, U+2028, U+2029) or shows an address as another one (direction marks).
_BEYOND = (
    r"\u00a1-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufefe\uff00-\ufffd"
    r"\U00010000-\U0010fffd"
)
_DOT_STRING_UTF8 = re.compile(rf"[{_ATEXT}{_BEYOND}]+(?:\.[{_ATEXT}{_BEYOND}]+)*\Z")
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"\Z')
_QUOTED_UTF8 = re.compile(rf'"(?:[ !#-\[\]-~{_BEYOND}]|\\[ -~])*"\Z')
MAX_LOCAL_OCTETS = 64
MAX_DOMAIN_OCTETS = 253
MAX_PATH_OCTETS = 254


class AddressError(ValueError):
    """Raised when a text is no address of our grammar; the text names no address."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Domain:
    """A mail domain or host name: lower-case A-labels, no trailing dot."""

    name: str

    @classmethod
    def parse(cls, text: str) -> "Domain":
        """Parse a domain in A- or U-label form.

        Args:
            text: The name as written; a trailing dot is refused.

        Returns:
            The domain in lower-case A-labels.

        Raises:
            AddressError: For an address literal, one label only, `_`, empty or too long
                labels, or what IDNA2008 does not allow.

        Source: RFC 5321 4.1.2; RFC 5890-5892. Python's own `idna` codec is IDNA2003 and
        maps other domains onto one another, so it is never used.
        """
        lowered = text.lower() if text.isascii() else _to_ascii(text)
        labels = lowered.split(".")
        if len(lowered) > MAX_DOMAIN_OCTETS or len(labels) < 2:  # noqa: PLR2004
            raise AddressError("domain needs two or more labels and at most 253 octets")
        for label in labels:
            if not _LABEL.match(label):
                raise AddressError("domain has an impossible label")
            if label.startswith("xn--"):
                _check_a_label(label)
        if labels[-1].isdigit():
            raise AddressError("an address literal is not a domain")
        return cls(lowered)

    def __str__(self) -> str:
        return self.name


def _to_ascii(text: str) -> str:
    try:
        return idna.encode(text, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError("domain is not valid under IDNA2008") from error


def _check_a_label(label: str) -> None:
    try:
        idna.decode(label)
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError("domain has an invalid A-label") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox: local-part verbatim, domain normalised."""

    local_part: str
    domain: Domain

    @classmethod
    def parse(cls, text: str, *, smtputf8: bool = False) -> "Mailbox":
        """Parse `local-part@domain` without angle brackets.

        Args:
            text: The address as it stands in the envelope.
            smtputf8: Whether the local-part may hold non-ASCII (RFC 6531).

        Raises:
            AddressError: When it is no mailbox of RFC 5321 4.1.2, or too long.
        """
        local_part, at, domain = text.rpartition("@")
        if not at or len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_OCTETS:
            raise AddressError("address is unqualified or longer than 254 octets")
        if not 0 < len(local_part.encode("utf-8", "surrogatepass")) <= MAX_LOCAL_OCTETS:
            raise AddressError("local-part must have 1 to 64 octets")
        plain = _DOT_STRING_UTF8 if smtputf8 else _DOT_STRING
        quoted = _QUOTED_UTF8 if smtputf8 else _QUOTED
        if not (plain.match(local_part) or quoted.match(local_part)):
            raise AddressError("local-part has a character that is not allowed")
        mailbox = cls(local_part, Domain.parse(domain))
        if len(str(mailbox).encode()) > MAX_PATH_OCTETS:  # as we send it: in A-labels
            raise AddressError("address in A-labels is longer than 254 octets")
        return mailbox

    @property
    def canonical(self) -> str:
        """The form for comparing registered mailboxes: all lower-case.

        Only for look-up in the registry, where an administrator registered the address;
        what is sent keeps the local-part verbatim.
        """
        return f"{self.local_part.lower()}@{self.domain.name}"

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain.name}"

    def __repr__(self) -> str:
        digest = hashlib.sha256(str(self).encode("utf-8", "surrogatepass"))
        return f"Mailbox(sha256:{digest.hexdigest()[:8]})"


@dataclasses.dataclass(frozen=True, slots=True)
class ReversePath:
    """Where notices go: a mailbox, or `None` for the null reverse-path `<>` (A-06)."""

    mailbox: Mailbox | None

    @property
    def is_null(self) -> bool:
        """Whether this is `<>`, which is never answered by a notice."""
        return self.mailbox is None

    def __str__(self) -> str:
        return "" if self.mailbox is None else str(self.mailbox)
