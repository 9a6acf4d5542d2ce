"""The verbs outside a transaction: greeting, extensions, and what is not told."""

# ruff: noqa: N802, ARG002 - verbs are named and called as aiosmtpd's table asks

from gateway.intake import answer
from gateway.intake.answer import Refusal
from gateway.intake.received import sanitise_helo
from gateway.intake.sasl import EXCHANGES
from gateway.intake.visit import Visit, refuse_argument


class GreetingVerbs(Visit):
    """HELO, EHLO and all that needs no transaction."""

    async def smtp_HELO(self, argument: str) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._greeted(argument, extended=False)
        await self.write(f"250 {self.hostname}")

    async def smtp_EHLO(self, argument: str) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._greeted(argument, extended=True)
        lines = [self.hostname, *self._extensions()]
        last = len(lines) - 1
        await self.write(
            "\r\n".join(
                f"250{' ' if at == last else '-'}{line}"
                for at, line in enumerate(lines)
            )
        )

    def _greeted(self, argument: str, *, extended: bool) -> None:
        if not argument.strip():
            raise Refusal(answer.BAD_ARGUMENT)
        self._set_post_data_state()
        self._talk.helo = sanitise_helo(argument)
        self._talk.extended = extended

    def _extensions(self) -> list[str]:
        known = self._known()
        # RFC 1870 section 4, zero: no limit. A server that heard one would not offer a
        # larger copy, and return it to whoever wrote the mail (R3).
        most = 0 if known and known.is_shadow else self._limits.size_octets
        extensions = [
            "PIPELINING",
            f"SIZE {most}",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "SMTPUTF8",
            "DSN",
        ]
        if self._talk.tls is None:
            return [*extensions, "STARTTLS"]
        extensions.append("REQUIRETLS")
        if self._can_authenticate():
            extensions.append("AUTH " + " ".join(EXCHANGES))
        return extensions

    async def smtp_NOOP(self, argument: str) -> None:
        """Does nothing; its argument neither."""
        await self.say(answer.OK)

    async def smtp_RSET(self, argument: str) -> None:
        """Ends the transaction, keeps greeting and AUTH."""
        refuse_argument(argument)
        self._set_post_data_state()
        await self.say(answer.OK)

    async def smtp_QUIT(self, argument: str) -> None:
        """Ends the session."""
        refuse_argument(argument)
        raise Refusal(answer.GOODBYE, close=True)

    async def smtp_VRFY(self, argument: str) -> None:
        """Tells nothing about anybody (A-12)."""
        await self.say(answer.CANNOT_VERIFY)

    async def smtp_EXPN(self, argument: str) -> None:
        """Not offered."""
        raise Refusal(answer.NOT_OFFERED)

    async def smtp_HELP(self, argument: str) -> None:
        """The same for everybody."""
        await self.say(answer.HELP)

    async def smtp_BDAT(self, argument: str) -> None:
        """Not offered, and the chunk behind it must not run as commands (A-37)."""
        raise Refusal(answer.NOT_OFFERED, close=True)
