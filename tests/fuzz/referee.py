"""Says of a finished dialogue what the server was not allowed to do.

Written from RFC 5321 and the requirements, not from the server: it reads what the client
sent beside what the server said, one command and one reply at a time, and knows only
greeted, authenticated, sender, recipients. Where the server has a choice (when exactly
octets arrived, a limit, a time-out) each lawful reply is taken; nothing else is.
"""

import re

from tests.fuzz.said import (
    FoulError,
    Reply,
    a_labels,
    credentials,
    is_broken,
    read_replies,
)
from tests.fuzz.sound import flaws, without_stripped
from tests.fuzz.words import CERTIFICATE
from tests.unit.intake.intake_desk import OPEN, PASSWORD

_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3} \S")
_PATH = re.compile(
    r'<((?:"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"|[^\x00-\x20\x7f"(),:;<>@\[\\\]]+))@'
    r"((?:[^\x00-,/:-@\[-`{-\x7f.]+[.\u3002])+[^\x00-,/:-@\[-`{-\x7f.]+)>(?= |$)"
)
_POSTMASTER = re.compile(r"<((?i:postmaster))()>(?= |$)")
_NULL = re.compile(r"<()()>(?= |$)")
_PLAIN = r"<([a-z]{1,64})@([a-z]{1,63}\.[a-z]{2,63})>"  # nobody refuses these
_PLAIN_SENDER = re.compile(f"(?i:from):(?:<>|{_PLAIN})".encode())
_PLAIN_RECIPIENT = re.compile(f"(?i:to):{_PLAIN}".encode())
LONGEST = 12288  # a line longer than that may end the session, if too much waits
BEFORE_TLS = {b"EHLO", b"NOOP", b"STARTTLS", b"QUIT"}
ZWOLLE, HATTEM = {"gem.nl", "gemeente.example"}, {"hattem.example"}
DECIDED = {
    "accept": (250, "2.0.0"),
    "slow": (250, "2.0.0"),
    "very-slow": (250, "2.0.0"),
    "refuse": (550, "5.7.1"),
    "full": (452, "4.3.1"),
    "fault": (451, "4.3.0"),
}


class Referee:
    """Judges one dialogue; `judge` raises FoulError."""

    def __init__(self, script, wire, messages):
        self.script, self.wire = script, wire
        self.messages = list(messages)
        self.kinds = {kind for kind, _ in script.steps}
        self.limits = {
            "size_octets": 52428800,
            "line_octets": 998,
            "recipients": 200,
        } | script.limits
        self.phase = 0
        self.secure = self.over = self.maybe_over = False
        self.errors = self.failures = self.refused = self.commands = self.accepted = 0
        self.certificate = None
        self.forget()

    # --- what is known ------------------------------------------------------------
    def forget(self):
        self.greeted = None
        self.authed = False
        self.reset()

    def reset(self):
        self.smtputf8 = False
        self.sender, self.recipients, self.tainted = None, [], False

    def home(self):
        """The sender domains of who this is, or None: nobody we know."""
        if self.authed:
            return HATTEM
        if self.secure and self.certificate == CERTIFICATE:
            return ZWOLLE
        return ZWOLLE if "127.0.0.1" in self.script.address else None

    # --- the dialogue -------------------------------------------------------------
    def judge(self):
        wire = self.wire
        self.secure = wire.began_secure
        for self.phase, (took, said) in enumerate(
            zip(wire.took, wire.said, strict=True)
        ):
            self.octets, self.at = bytes(took), 0
            self.replies = read_replies(bytes(said))
            self.replies.reverse()
            if self.phase:
                self.forget()
                self.failures, self.over = 0, False
                self.secure = True
            elif not self.greeting():
                return
            if self.secure:
                self.certificate = self.script.certificate
            self.converse()
        if self.messages and not self.client_went():
            raise FoulError("a message was accepted and nobody told")

    def greeting(self):
        if not self.replies:
            if not self.wire.ended:
                raise FoulError("no greeting")
            return False
        reply = self.replies.pop()
        if reply.code == 421:
            self.last_word(reply)
        elif reply != Reply(220, ("poort.voorbeeld.nl ESMTP",)):
            raise FoulError(f"greeting: {reply}")
        return True

    def client_went(self):
        """Whether replies may be lost, because the client or a stop ended it."""
        return self.wire.ended or bool(self.kinds & {"stop", "reset"})

    def converse(self):
        while True:
            line = self.line()
            reply = self.replies.pop() if self.replies else None
            if reply is None:
                if line is not None:
                    self.unanswered(line)
                return
            if self.over:
                raise FoulError(f"a reply after the last word: {reply}")
            if line is None:
                self.unasked(reply)
            else:
                self.commands += 1
                self.maybe_over = False
                self.answered(line, reply)

    def line(self):
        end = self.octets.find(b"\n", self.at)
        if end < 0:
            return None
        line, self.at = self.octets[self.at : end + 1], end + 1
        return line

    def unanswered(self, line):
        lawful = self.over or self.maybe_over or self.client_cut()
        if not lawful:
            raise FoulError(f"no reply to {line[:60]!r}")

    def client_cut(self):
        """Whether the client (or a stop that waits for nobody) cut the connection."""
        half_close_in_tls = self.wire.ended and self.wire.secure
        return self.wire.was_reset or half_close_in_tls or "stop" in self.kinds

    def unasked(self, reply):
        too_long = len(self.octets) - self.at > LONGEST and reply.both == (500, "5.5.2")
        if reply.code == 421:
            self.last_word(reply)
        elif too_long:
            self.over = True
        else:
            raise FoulError(f"a reply to nothing: {reply}")

    def last_word(self, reply):
        self.over = True
        waited = (
            bool(self.kinds & {"wait", "stop"})
            or self.script.decision == "very-slow"
            or self.wire.kept_waiting
        )
        lawful = {
            "4.3.2": "stop" in self.kinds,
            "4.4.2": waited,
            "4.7.0": self.errors >= 9 or self.failures >= 3 or self.refused >= 100,
        }
        if not lawful.get(reply.enhanced, False):
            raise FoulError(f"421 without reason: {reply}")

    def answered(self, line, reply):
        if reply.code == 421:
            self.last_word(reply)
        elif is_broken(line) or len(line) > LONGEST:
            self.must(reply, (500, "5.5.2"))
            self.over = is_broken(line) and len(line) <= LONGEST
            self.maybe_over = True
        else:
            self.command(line[:-2], reply)

    def command(self, line, reply):
        word, _, rest = line.partition(b" ")
        verb, rest = word.upper(), rest.rstrip(b" ")
        if verb == b"PROXY":  # version 1, in clear: nobody may say who he is
            self.must(reply, (500, "5.5.2"))
            self.over = True
            return
        if self.script.listener != OPEN and not self.secure and verb not in BEFORE_TLS:
            self.must(reply, (530, "5.7.0"))
            self.over = verb == b"BDAT"  # its chunk comes unasked
            return
        meaning = (
            getattr(self, f"on_{verb.decode('ascii', 'replace').lower()}", None)
            if verb.isalpha()
            else None
        )
        too_long = len(line) > 2048 and verb != b"AUTH"
        if meaning is None or too_long or re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", line):
            self.errors += 1
            self.must(reply, (500, "5.5.2"))
        else:
            if (
                not (verb in {b"EHLO", b"HELO"} and reply.code == 250)
                and reply.code // 100 != 3
            ):
                self.check_enhanced(reply)
            meaning(rest, reply)

    def must(self, reply, *allowed):
        self.check_enhanced(reply)
        if reply.both not in allowed:
            raise FoulError(f"{reply} where {allowed} was due")

    def check_enhanced(self, reply):
        """A-27."""
        for line in reply.lines:
            match = _ENHANCED.match(line)
            if match is None or match[1] != str(reply.code)[0]:
                raise FoulError(f"no enhanced status: {reply}")

    # --- verbs ---------------------------------------------------------------------
    def on_ehlo(self, rest, reply, *, extended=True):
        if not rest.decode("utf-8", "surrogateescape").strip():
            self.must(reply, (501, "5.5.4"))
            return
        if reply.code != 250 or reply.lines[0] != "poort.voorbeeld.nl":
            raise FoulError(f"greeting answered with {reply}")
        offers = {line.partition(" ")[0] for line in reply.lines[1:]}
        if extended and (
            ("AUTH" in offers) != self.secure or ("STARTTLS" in offers) == self.secure
        ):
            raise FoulError(f"offers {offers}")
        if extended == (not offers):
            raise FoulError(f"offers {offers}")
        self.reset()
        self.greeted = "EHLO" if extended else "HELO"

    def on_helo(self, rest, reply):
        self.on_ehlo(rest, reply, extended=False)

    def on_noop(self, rest, reply):
        self.must(reply, (250, "2.0.0"))

    def on_rset(self, rest, reply):
        self.must(reply, (501, "5.5.4") if rest else (250, "2.0.0"))
        if not rest:
            self.reset()

    def on_quit(self, rest, reply):
        self.must(reply, (501, "5.5.4") if rest else (221, "2.0.0"))
        self.over = not rest

    def on_vrfy(self, rest, reply):
        self.must(reply, (252, "2.0.0"))

    def on_expn(self, rest, reply):
        self.must(reply, (502, "5.5.1"))

    def on_help(self, rest, reply):
        self.must(reply, (214, "2.0.0"))

    def on_bdat(self, rest, reply):
        self.must(reply, (502, "5.5.1"))
        self.over = True

    def on_starttls(self, rest, reply):
        if self.secure:
            self.must(reply, (503, "5.5.1"))
        elif rest:
            self.must(reply, (501, "5.5.4"))
        else:
            self.must(reply, (220, "2.0.0"), (503, "5.5.1"))
            self.over = True
            if len(self.wire.took) > self.phase + 1 and self.at < len(self.octets):
                raise FoulError(
                    "plain text behind STARTTLS and TLS all the same (A-29)"
                )

    def on_auth(self, rest, reply):
        if self.greeted != "EHLO":
            self.must(reply, (503, "5.5.1"))
        elif not self.secure:
            self.must(reply, (538, "5.7.11"))
        elif self.authed or self.sender is not None:
            self.must(reply, (503, "5.5.1"))
        else:
            self.exchange(rest, reply)

    def exchange(self, rest, reply):
        mechanism, _, initial = rest.partition(b" ")
        said = [initial] if initial else []
        while reply is not None and reply.code == 334:
            line = self.line()
            reply = self.replies.pop() if self.replies else None
            if line is None:
                if reply is not None:
                    self.unasked(reply)
                return
            said.append(line)
        if reply is None:
            self.unanswered(b"AUTH")
            return
        if reply.code == 421:
            self.last_word(reply)
            return
        self.check_enhanced(reply)
        if reply.code == 235:
            self.authed = True
        elif reply.code != 504:
            self.failures += 1
        last = said[-1] if len(said) > bool(initial) else b"\r\n"
        self.over = is_broken(last) and len(last) <= LONGEST
        self.maybe_over = len(last) > LONGEST
        right = credentials(mechanism.upper(), said) == (b"scanner", PASSWORD.encode())
        if right != (reply.code == 235):
            raise FoulError(f"credentials {'right' if right else 'wrong'}: {reply}")

    def on_mail(self, rest, reply):
        if self.greeted is None or self.sender is not None:
            self.must(reply, (503, "5.5.1"))
            return
        self.reset()
        home = self.home()
        if reply.code != 250:
            self.tainted = True
            plain = _PLAIN_SENDER.fullmatch(rest)
            if home and plain and (plain[2] is None or plain[2].decode() in home):
                raise FoulError(f"an ordinary sender refused: {reply}")
            return
        if home is None:
            raise FoulError("MAIL of a stranger (A-45)")
        text = rest.decode("utf-8", "surrogateescape")
        self.smtputf8 = re.search(r"> (?:.* )?(?ai:SMTPUTF8)(?: |$)", text) is not None
        path = self.path(text, "FROM:", _NULL, _PATH)
        if path is None:
            raise FoulError(f"MAIL accepted: {rest[:60]!r}")
        local, domain = path
        if domain and domain not in self.home():
            raise FoulError("a sender of somebody else (A-46)")
        self.sender, self.sender_domain = f"{local}@{domain}" if domain else "", domain

    def path(self, text, keyword, *forms):
        """Local-part and domain of an acceptable path, or None."""
        if text[: len(keyword)].upper() != keyword or not (
            text.isascii() or self.smtputf8
        ):
            return None
        rest = text[len(keyword) :].lstrip(" ")
        for form in forms:
            if match := form.match(rest):
                return match[1], a_labels(match[2])
        return None

    def on_rcpt(self, rest, reply):
        if reply.code != 250:
            self.tainted = True
            self.refused += reply.code >= 500
            full = len(self.recipients) >= self.limits["recipients"]
            if reply.both == (452, "4.5.3") and not full:
                raise FoulError("recipients below the limit put off")
            if (
                self.sender is not None
                and _PLAIN_RECIPIENT.fullmatch(rest)
                and not full
            ):
                raise FoulError(f"an ordinary recipient refused: {reply}")
            return
        if self.sender is None:
            raise FoulError("RCPT without MAIL")
        text = rest.decode("utf-8", "surrogateescape")
        path = self.path(text, "TO:", _POSTMASTER, _PATH)
        if path is None:
            raise FoulError(f"RCPT accepted: {rest[:60]!r}")
        local, domain = path
        recipient = (
            f"{local}@{domain or self.sender_domain or min(self.home())}"
        )
        if recipient not in self.recipients:
            self.recipients.append(recipient)
        if len(self.recipients) > self.limits["recipients"]:
            raise FoulError("more recipients than the limit (A-09)")

    # --- content --------------------------------------------------------------------
    def on_data(self, rest, reply):
        if rest:
            self.must(reply, (501, "5.5.4"))
            return
        if not (self.recipients or self.tainted):
            self.must(reply, (503, "5.5.1"))
            self.maybe_over = True
            return
        if reply.code != 354:
            if self.recipients:
                raise FoulError(f"DATA answered with {reply}")
            self.must(reply, (503, "5.5.1"))
            self.maybe_over = True
            return
        end = (b"\r\n" + self.octets[self.at :]).find(b"\r\n.\r\n")
        verdict = self.replies.pop() if self.replies else None
        if end < 0:
            self.endless(verdict)
            return
        content = self.octets[self.at : self.at + end]
        self.at += end + 3
        if verdict is None:
            self.unanswered(b".")
        else:
            self.at_the_dot(content, verdict)
        self.reset()

    def endless(self, verdict):
        self.at = len(self.octets)
        if verdict is not None:
            if verdict.code != 421:
                raise FoulError(f"content had no end: {verdict}")
            self.last_word(verdict)

    def at_the_dot(self, content, verdict):
        if verdict.code == 421:
            self.last_word(verdict)
            return
        self.check_enhanced(verdict)
        if not self.recipients:
            self.must(verdict, (554, "5.5.1"))
            return
        little_room = "memory_octets" in self.script.limits
        if little_room and verdict.both == (452, "4.3.1"):
            return
        found = flaws(
            content,
            self.limits["size_octets"],
            self.limits["line_octets"],
            smtputf8=self.smtputf8,
            filed=little_room,
        )
        if found:
            if verdict.both not in found:
                raise FoulError(f"{verdict.both} for content with {found}")
            return
        self.must(verdict, DECIDED[self.script.decision])
        if verdict.code == 250:
            self.same(content)

    def same(self, content):
        """What the handler has is what was sent (INV-5, A-04, A-42, A-44)."""
        if not self.messages:
            raise FoulError("250 without a message (INV-1)")
        message = self.messages.pop(0)
        plain = re.sub(rb"(?m)^\.", b"", content)
        head, came = message.split()
        if came != without_stripped(plain):
            raise FoulError("octets differ from those sent (INV-5)")
        if not re.fullmatch(rb"Received: from [^\r\n]+(?:\r\n\t[^\r\n]+)+\r\n", head):
            raise FoulError(f"our field: {head!r}")
        if list(message.recipients) != self.recipients:
            raise FoulError("recipients differ from those accepted")
        if message.sender != self.sender:
            raise FoulError("sender differs from that accepted")
        self.accepted += 1
