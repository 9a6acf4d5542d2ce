"""What each verb of SMTP means: here MAIL and RCPT, the others in the modules beside.

A session is known by TLS, AUTH or network before anything is accepted; nothing is
relayed for somebody unknown (A-45). What is advertised is carried through: CHUNKING is
not, so its verb is refused. To add an extension: its line in `greeting`, its parameter
in the set that MAIL or RCPT knows, its field in `Transaction` and in `Envelope`.
"""

# ruff: noqa: N802 - verbs are named as aiosmtpd's table asks

from gateway.intake import answer, dsn, path
from gateway.intake.answer import Refusal
from gateway.intake.clients import Known
from gateway.intake.data import DataVerb
from gateway.intake.greeting import GreetingVerbs
from gateway.intake.secure import SecureVerbs
from gateway.intake.session import Transaction
from gateway.model.address import ReversePath
from gateway.model.message import MessageWish
from gateway.shadow.copies import NO_COPY, SPOILED, CopyAddresses

_MAX_TRANSACTIONS = 1000  # of a session: a mail server comes back for more
_MAX_REFUSED_RECIPIENTS = 100  # for good, in a session: who has so many is guessing
_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "AUTH", "SMTPUTF8", "RET", "ENVID"})
_MAIL_PARAMETERS_IN_TLS = _MAIL_PARAMETERS | {"REQUIRETLS"}  # RFC 8689 section 2
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})
_FOR_GOOD = 500  # 5xx


class IntakeProtocol(GreetingVerbs, SecureVerbs, DataVerb):
    """One SMTP session, with all its verbs."""

    async def smtp_MAIL(self, argument: str) -> None:
        """Begin a transaction, for a known client and one of its domains."""
        if self._talk.helo is None:
            raise Refusal(answer.GREET_FIRST)
        if self._transaction.reverse_path is not None:
            raise Refusal(answer.BAD_SEQUENCE)
        self._transactions += 1
        if self._transactions > _MAX_TRANSACTIONS:
            raise Refusal(answer.TOO_MANY_TRANSACTIONS, close=True)
        self._transaction = Transaction(refused=True)  # until it is not
        reverse_path, parameters = path.parse_reverse_path(argument)
        inside = self._talk.tls is not None
        self._check_parameters(
            parameters, _MAIL_PARAMETERS_IN_TLS if inside else _MAIL_PARAMETERS
        )
        opened = Transaction(
            reverse_path,
            body=path.parse_body(parameters),
            smtputf8=path.parse_flag(parameters, "SMTPUTF8"),
            wish=_wish(parameters),
        )
        size_octets = path.parse_size(parameters)
        known = opened.known = self._sending_as(reverse_path, self._identify())
        is_shadow = known is not None and known.is_shadow
        if size_octets > self._limits.size_octets and not is_shadow:
            raise Refusal(answer.TOO_BIG)
        self._if_spoiled = None
        self._transaction = opened
        await self.say(answer.SENDER_OK)

    def _check_parameters(
        self, parameters: path.Parameters, known: frozenset[str]
    ) -> None:
        if parameters.keys() - known or (parameters and not self._talk.extended):
            raise Refusal(answer.NOT_SUPPORTED)

    def _identify(self) -> Known | None:
        known = self._known()
        if known is None:
            self._lobby.log("intake-unknown-client", network=self._network())
            if self._can_authenticate():
                raise Refusal(answer.AUTH_NEEDED)
        return known

    def _sending_as(
        self, reverse_path: ReversePath, known: Known | None
    ) -> Known | None:
        if known is None:
            return None  # all recipients of nobody are refused
        sender = known.sending_as(reverse_path)
        if sender is None:
            self._lobby.log("intake-sender-refused", client=known.client.id)
            raise Refusal(answer.SENDER_NOT_ALLOWED)
        if (reason := self._lobby.pressure()) is not None:  # A-50, G-15
            self._lobby.log("intake-put-off", client=sender.client.id, reason=reason)
            raise Refusal(answer.STORE_FULL)
        return sender

    async def smtp_RCPT(self, argument: str) -> None:
        """Add a recipient; who may have what is decided when the content is known."""
        transaction = self._transaction
        try:
            self._add_recipient(transaction, argument)
        except Refusal as refusal:
            transaction.refused = True
            self._refused_recipients += refusal.reply.code >= _FOR_GOOD
            if self._refused_recipients > _MAX_REFUSED_RECIPIENTS:
                self._lobby.log("intake-recipients-refused", network=self._network())
                raise Refusal(answer.TOO_MANY_ERRORS, close=True) from None
            raise
        await self.say(answer.RECIPIENT_OK)

    def _add_recipient(self, transaction: Transaction, argument: str) -> None:
        known, reverse_path = transaction.known, transaction.reverse_path
        if reverse_path is None:
            raise Refusal(answer.BAD_SEQUENCE)
        home = known.home(reverse_path) if known else self._lobby.hostname
        recipient, parameters = path.parse_recipient(
            argument, home, smtputf8=transaction.smtputf8
        )
        self._check_parameters(parameters, _RCPT_PARAMETERS)
        wish = dsn.parse_recipient_wish(parameters)
        if known is None:
            raise Refusal(answer.RELAY_DENIED)
        named = transaction.recipients
        if recipient in named:
            wish = dsn.both_wishes(named[recipient], wish)
        elif len(named) >= self._limits.recipients:
            raise Refusal(answer.TOO_MANY_RECIPIENTS)
        named[recipient] = wish
        if known.is_shadow and recipient not in self._copy_addresses(known):
            self._if_spoiled = NO_COPY
        elif known.is_shadow and self._if_spoiled is None:
            self._if_spoiled = SPOILED

    def _copy_addresses(self, known: Known) -> CopyAddresses:
        domains = (client.sender_domains for client in known.clients)
        return CopyAddresses(self._lobby.hostname, frozenset().union(*domains))


def _wish(parameters: path.Parameters) -> MessageWish:
    return MessageWish(
        ret=dsn.parse_ret(parameters),
        envid=dsn.parse_envid(parameters),
        requiretls=path.parse_flag(parameters, "REQUIRETLS"),
    )
