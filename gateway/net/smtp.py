"""Delivery to the planned hops: connect, greet, TLS, judge, and only then the envelope.

Implements `ports.Dialer`. Hosts and their addresses are tried in order until one takes
the transaction (B-03). A hop that does not meet its demand gets no MAIL, and nothing is
tried again with less (B-30): neither on the same connection nor on a new one. That
holds for opportunistic hops too, where a STARTTLS that was offered and then fails is a
fault of the hop; it is deferred, not sent in plaintext.

A parcel with REQUIRETLS asks more (RFC 8689 section 4.2.1, B-36): the hop must have
proven who it is, and must offer REQUIRETLS over that very TLS session; one that does
not gets no envelope, and the next may. Only when every planned host was seen to lack it
at each of its addresses has the attempt failed; otherwise it waits.

An exception of `send` means that we failed ourselves. Connections serve one job and are
never reused (B-32).
"""

import asyncio
import collections
import datetime
import itertools
import ssl
from collections.abc import Callable, Iterator, Sequence

from gateway.delivery import codes
from gateway.delivery.judge import Matched, judge
from gateway.model.assurance import Mechanism, TlsResult
from gateway.model.destination import Hop
from gateway.model.errors import TemporaryFailure, TlsFailure
from gateway.model.ids import Code
from gateway.model.peer import TlsFacts
from gateway.model.reply import Cause, HopFacts, Outcome, RecipientOutcome, Status
from gateway.net import dialogue
from gateway.net.dialogue import HopGarbage, HopReply, Unsendable
from gateway.net.transaction import (
    NotTaken,
    Timeouts,
    Transaction,
    cause_of,
    envelope_commands,
)
from gateway.net.wire import HopLost, TlsBroken, Wire
from gateway.ports import CommitIntent, Parcel

MAX_CONNECTIONS = 12
MAX_ADDRESSES = 4  # of one host: a host with many dead ones may not starve the next
_DONE = 2
_READY = 220


_PROVEN = frozenset({Mechanism.DANE_EE, Mechanism.DANE_TA, Mechanism.PIN})


class _HopFailed(Exception):  # noqa: N818 - the field's word
    """A hop that took nothing; the next may."""

    def __init__(
        self,
        cause: Cause,
        code: Code,
        detail: str,
        tls_result: TlsResult | None = None,
        reply: HopReply | None = None,
    ) -> None:
        super().__init__(detail)
        self.cause = cause
        self.code = code
        self.detail = detail
        self.tls_result = tls_result
        self.reply = reply


# What failed at which address of which hop.
_Failure = tuple[tuple[Hop, str], _HopFailed]


class SmtpDialer:
    """Sends parcels to hops."""

    def __init__(
        self,
        ehlo_name: str,
        timeouts: Timeouts,
        context: ssl.SSLContext,
        now: Callable[[], datetime.datetime],
    ) -> None:
        """Connect to nobody yet.

        Args:
            ehlo_name: Our own full host name.
            timeouts: For each phase.
            context: From `net.tls.client_context`.
            now: The present instant, aware UTC.
        """
        self._hello = dialogue.ehlo(ehlo_name)
        self._timeouts = timeouts
        self._context = context
        self._now = now

    async def send(
        self, hops: Sequence[Hop], parcel: Parcel, commit_intent: CommitIntent
    ) -> Outcome:
        """Try the hops in order; answers whatever the far side does.

        Args:
            hops: As planned; at least one.
            parcel: One transaction's worth.
            commit_intent: See `ports.CommitIntent`.

        Returns:
            Exactly one outcome for each recipient of the parcel; facts of each
            connection that was tried.

        Raises:
            TemporaryFailure: When the parcel itself cannot be sent (B-40, INV-6), or
                its octets cannot be read; a copy was not handed over.
        """
        _check(parcel)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeouts.attempt_s
        tried: list[HopFacts] = []
        failures: list[_Failure] = []
        for hop, address in itertools.islice(_addresses(hops), MAX_CONNECTIONS):
            if failures and loop.time() >= deadline:
                break
            call = _Call(hop, address, self._now)
            try:
                results = await self._call(call, parcel, commit_intent)
            except _HopFailed as failure:
                failures.append(((hop, address), failure))
                tried.append(call.facts(failure.detail, failure.tls_result))
            else:
                tried.append(call.facts(call.detail))
                return Outcome(tuple(tried), results)
        return Outcome(tuple(tried), _not_taken_by_any(parcel, hops, failures))

    async def _call(
        self, call: "_Call", parcel: Parcel, commit_intent: CommitIntent
    ) -> tuple[RecipientOutcome, ...]:
        """One connection: session, judgement, transaction; it is over afterwards."""
        try:
            wire = await Wire.connect(
                call.address, call.hop.port, self._timeouts.connect_s
            )
        except HopLost as error:
            raise _HopFailed(Cause.UNREACHABLE, codes.UNREACHABLE, str(error)) from None
        try:
            await self._open_session(wire, call)
            await self._require_tls(wire, call, parcel)
            call.dsn = "DSN" in wire.dialogue.capabilities
            transaction = Transaction(wire, parcel, self._timeouts)
            try:
                return await transaction.run(call.facts, commit_intent)
            except NotTaken as error:
                raise _not_taken(error) from error
            except Unsendable as error:  # found on the way; there was no final dot
                raise _unsendable(error) from error
            finally:
                call.detail = transaction.detail
                if not transaction.is_broken:
                    await self._quit(wire)
        finally:
            wire.abort()
            await wire.close()

    async def _open_session(self, wire: Wire, call: "_Call") -> None:
        """Greeting to judgement; afterwards the envelope may be sent."""
        try:
            await self._greet(wire)
            if "STARTTLS" in wire.dialogue.capabilities:
                call.tls = await self._start_tls(wire, call.hop)
            try:
                matched = _judge(call.hop, call.tls, self._now())
            except TlsFailure as error:
                await self._quit(wire)
                raise _HopFailed(
                    Cause.TLS, codes.code_of(error.result), error.detail, error.result
                ) from error
            call.mechanism, call.matched = matched.mechanism, matched.matched
            if call.tls is not None:  # what it offered before TLS is forgotten (B-31)
                await self._say_hello(wire)
        except (HopGarbage, HopLost) as error:
            raise _HopFailed(cause_of(error), codes.HOP_FAULTY, str(error)) from error

    async def _require_tls(self, wire: Wire, call: "_Call", parcel: Parcel) -> None:
        """Hold the hop to REQUIRETLS, when the parcel has that tag.

        What it offered before TLS is forgotten by now.
        """
        if not parcel.wish.requiretls:
            return
        if call.mechanism not in _PROVEN:
            await self._quit(wire)
            detail = "REQUIRETLS, and the hop has not proven who it is"
            raise _HopFailed(Cause.NOT_AUTHENTICATED, codes.NOT_AUTHENTICATED, detail)
        if "REQUIRETLS" not in wire.dialogue.capabilities:
            await self._quit(wire)
            detail = "the hop does not offer REQUIRETLS over TLS"
            raise _HopFailed(Cause.REQUIRETLS, codes.REQUIRETLS_MISSING, detail)
        call.requiretls = True

    async def _greet(self, wire: Wire) -> None:
        greeting = await wire.reply(self._timeouts.greeting_s)
        if greeting.kind != _DONE:
            raise _refused("greeting", greeting)
        await self._say_hello(wire)

    async def _say_hello(self, wire: Wire) -> None:
        wire.ask(self._hello)
        reply = await wire.reply(self._timeouts.greeting_s)
        if reply.kind != _DONE:
            raise _refused("EHLO", reply)
        wire.dialogue.learn(reply)

    async def _start_tls(self, wire: Wire, hop: Hop) -> TlsFacts:
        """STARTTLS and handshake; what fails here is never retried in plaintext."""
        wire.ask(dialogue.STARTTLS)
        reply = await wire.reply(self._timeouts.command_s)
        if reply.code != _READY:
            await self._quit(wire)
            raise _HopFailed(
                Cause.TLS,
                codes.STARTTLS_MISSING,
                f"STARTTLS refused: {_shown(reply)}",
                TlsResult.STARTTLS_NOT_SUPPORTED,
                reply,
            )
        try:
            return await wire.start_tls(
                self._context, hop.sni, self._timeouts.handshake_s
            )
        except TlsBroken as error:
            raise _HopFailed(
                Cause.TLS,
                codes.STARTTLS_MISSING,
                str(error),
                TlsResult.VALIDATION_FAILURE,
            ) from error

    async def _quit(self, wire: Wire) -> None:
        """Leave politely; the result is known, so no fault counts any more."""
        try:
            wire.ask(dialogue.QUIT)
            await wire.reply(self._timeouts.quit_s)
            await wire.close()
        except (HopGarbage, HopLost):
            return


class _Call:
    """One connection as it goes, for evidence (B-35)."""

    def __init__(
        self, hop: Hop, address: str, now: Callable[[], datetime.datetime]
    ) -> None:
        self.hop = hop
        self.address = address
        self.tls: TlsFacts | None = None
        self.mechanism: Mechanism | None = None
        self.matched: str | None = None
        self.detail = ""
        self.dsn = False
        self.requiretls = False
        self._now = now
        self._started_at = now()

    def facts(self, detail: str = "", tls_result: TlsResult | None = None) -> HopFacts:
        """What is known now."""
        return HopFacts(
            host=self.hop.host,
            address=self.address,
            port=self.hop.port,
            dnssec=self.hop.dnssec,
            mechanism=self.mechanism,
            tls=self.tls,
            matched=self.matched,
            tls_result=tls_result,
            detail=detail,
            started_at=self._started_at,
            ended_at=self._now(),
            dsn=self.dsn,
            requiretls=self.requiretls,
        )


def _check(parcel: Parcel) -> None:
    """Refuse what would break the dialogue before anybody is connected to."""
    try:
        envelope_commands(parcel, {"DSN": ""})
        if isinstance(parcel.octets, bytes):  # others are looked at as they are sent
            collections.deque(dialogue.stuffed((parcel.octets,)), maxlen=0)
    except Unsendable as error:
        raise _unsendable(error) from error


def _unsendable(error: Unsendable) -> TemporaryFailure:
    return TemporaryFailure(f"a parcel cannot be sent: {error}")


def _addresses(hops: Sequence[Hop]) -> Iterator[tuple[Hop, str]]:
    for hop in hops:
        for address in hop.addresses[:MAX_ADDRESSES]:
            yield hop, address


def _shown(reply: HopReply) -> str:
    remote = reply.remote()
    return f"{remote.code} {remote.enhanced or ''} {remote.text}"[:200]


def _refused(stage: str, reply: HopReply) -> _HopFailed:
    return _HopFailed(
        Cause.HOP_REPLY,
        codes.HOP_REFUSED,
        f"{stage} refused: {_shown(reply)}",
        reply=reply,
    )


def _not_taken(error: NotTaken) -> _HopFailed:
    if error.reply is not None:
        return _refused("MAIL", error.reply)
    return _HopFailed(error.cause, error.code, f"no answer to MAIL: {error.__cause__}")


def _not_taken_by_any(
    parcel: Parcel, hops: Sequence[Hop], failures: list[_Failure]
) -> tuple[RecipientOutcome, ...]:
    """No hop took it: deferred, whatever the reason, and never with less (B-24, B-30).

    But for one reason: when each host was seen to lack REQUIRETLS at each of its
    addresses, trying again will not mend it. An address that was silent, or was not
    asked, may be the one that has it. Of several reasons the one about TLS is told:
    somebody has to look into that.
    """
    told = max((f for _, f in failures), key=lambda f: f.tls_result is not None)
    lacking = {at for at, f in failures if f.cause is Cause.REQUIRETLS}
    proven = all(
        hop.addresses and all((hop, address) in lacking for address in hop.addresses)
        for hop in hops
    )
    if proven:
        told = failures[-1][1]
    return tuple(
        RecipientOutcome(
            recipient,
            Status.FAILED if proven else Status.DEFERRED,
            told.cause,
            told.reply.remote() if told.reply else None,
            told.tls_result,
            told.code,
        )
        for recipient in parcel.recipients
    )


def _judge(hop: Hop, tls: TlsFacts | None, now: datetime.datetime) -> Matched:
    """`judge`, with whatever a certificate makes the library raise as a failure.

    A hop that could not be judged has proven nothing; the next one may.
    """
    try:
        return judge(hop, tls, now)
    except TlsFailure:
        raise
    except Exception as error:  # a peer's octets may not wedge the job
        detail = f"the certificate cannot be judged ({type(error).__name__})"
        raise TlsFailure(TlsResult.VALIDATION_FAILURE, detail) from error
