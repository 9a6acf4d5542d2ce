"""The dialogue as a state machine, against a model that foretells each reply exactly.

Hypothesis makes the steps. The model is a handful of facts; the referee of the made-up
dialogues is another one, which says what is lawful, and this one says what is due.
"""

import asyncio
import base64

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from tests.fuzz.dialogue import Bench
from tests.fuzz.said import read_replies
from tests.fuzz.script import Script
from tests.fuzz.sound import flaws, without_stripped
from tests.fuzz.words import ADDRESSES, CERTIFICATE
from tests.unit.intake.intake_desk import IMPLICIT, OPEN, PASSWORD, STARTTLS

MOST = 3  # recipients
SIZE = 2000
BENCH = []

words = st.text("abcz09", min_size=1, max_size=8)
locals_ = st.one_of(
    words, st.sampled_from(["o'brien", "a.b", '"a b"', '"@"', "x%y", "n" * 64])
)
bad_paths = st.sampled_from(
    [
        "<a@b>",
        "<a@b.nl",
        "a@b.nl",
        "<@x.nl:a@b.nl>",
        "<a@[192.0.2.1]>",
        "<.a@b.nl>",
        "<a b@b.nl>",
        "<a@b.nl.>",
        "<" + "n" * 65 + "@b.nl>",
        "<a@-b.nl>",
        '<"a@b.nl>',
    ]
)
texts = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"",
                b".",
                b"..",
                b"\r\n",
                b"\n",
                b"\r",
                b"\0",
                b"QUIT",
                b".\n",
                b"x" * 998,
                b"x" * 999,
                b"MAIL FROM:<jan@gem.nl>",
            ]
        ),
    ),
    max_size=6,
).map(b"\r\n".join)
fields = st.lists(
    st.sampled_from(
        [
            *(b"From: jan@gem.nl", b"Subject: x", b"To: a@b.nl", b"Bcc: c@d.nl"),
            b"bcc:\r\n x",
            b"X-Ketenmail-A: b",
            b"X-A: \xe9",
            b"Received: by x",
            b"nonsense",
            b"A : b",
            b" fold",
            b"X: \x01",
        ]
    ),
    max_size=5,
).map(b"\r\n".join)

ENDS = (
    b"NOOP\n",
    b"NO\rOP\r\n",
    b"\0\r\n",
    b"BDAT 3\r\nabc",
    b"QUIT\r\n",
    "reset",
    "half-close",
    "silence",
)
callers = st.tuples(
    st.sampled_from((OPEN, STARTTLS, IMPLICIT)),
    st.sampled_from(sorted(set(ADDRESSES))),
    st.sampled_from((None, None, CERTIFICATE)),
)


def setup_module():
    BENCH.append(Bench())


def teardown_module():
    BENCH.pop().close()


class Dialogue(RuleBasedStateMachine):
    @initialize(who=callers)
    def call(self, who):
        self.who = who
        self.connect(*who)

    def connect(self, listener, address, certificate):
        limits = {"recipients": MOST, "size_octets": SIZE}
        self.script = Script(
            0,
            listener,
            address,
            certificate,
            limits,
            "accept",
            None,
            65536,
            (),
            hurt=False,
        )
        self.bench = BENCH[0]
        self.loop = self.bench.loop
        self.sitting = self.run(self.bench.begin(self.script))
        self.read = 0
        self.secure = listener == IMPLICIT
        self.errors = self.failures = self.kept = 0
        self.forget()
        self.run(self.loop.quiet())
        assert self.heard() == ["220 poort"]

    # --- the model ------------------------------------------------------------------
    def forget(self):
        self.greeted, self.authed = None, False
        self.reset()

    def reset(self):
        self.sender, self.recipients, self.tainted = None, [], False

    @property
    def home(self):
        if self.authed:
            return ("hattem.example",)
        by_certificate = self.secure and self.script.certificate
        known = by_certificate or self.script.address.endswith("127.0.0.1")
        return ("gem.nl", "gemeente.example") if known else ()

    def unless_tls_is_due(self, reply):
        due = self.script.listener == STARTTLS and not self.secure
        return "530 5.7.0" if due else reply

    # --- the wire ---------------------------------------------------------------------
    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def heard(self):
        said = bytes(self.sitting.wire.said[-1])
        replies = read_replies(said[self.read :])
        self.read = len(said)
        return [f"{reply.code} {reply.lines[0]}"[:9] for reply in replies]

    def says(self, octets, *expected, ends=False):
        """The client says this, in two segments; these replies are due, or the end."""
        wire, half = self.sitting.wire, len(octets) // 2
        for segment in (octets[:half], octets[half:]):
            if segment:
                wire.send(segment)
        self.run(self.loop.quiet())
        assert self.heard() == list(expected)
        self.go_on(ends=ends)

    def go_on(self, *, ends):
        """After the end of a session the same client begins another."""
        assert self.sitting.wire.closing == ends
        if ends:
            self.hang_up()
            self.connect(*self.who)

    # --- what a client may do -----------------------------------------------------------
    @rule()
    def become_somebody(self):
        """What a client of good manners does before its first mail."""
        if self.greeted != "EHLO":
            self.says(b"EHLO x\r\n", "250 poort")
            self.reset()
            self.greeted = "EHLO"
        if not (self.secure or self.home) or (
            self.script.listener == STARTTLS and not self.secure
        ):
            self.start_tls(b"")
            self.says(b"EHLO x\r\n", "250 poort")
            self.greeted = "EHLO"
        if not self.home:
            self.authenticate(right=True, form="PLAIN")

    @rule(verb=st.sampled_from(("EHLO", "ehlo", "HELO")), name=words)
    def greet(self, verb, name):
        due = self.script.listener == STARTTLS and not self.secure and verb == "HELO"
        self.says(f"{verb} {name}\r\n".encode(), "530 5.7.0" if due else "250 poort")
        if not due:
            self.reset()
            self.greeted = verb.upper()

    def start_tls(self, behind):
        wire = self.sitting.wire
        wire.send(b"STARTTLS\r\n" + behind)
        self.run(self.loop.quiet())
        assert self.heard() == ["503 5.5.1" if behind else "220 2.0.0"]
        if behind:
            self.go_on(ends=True)
            return
        wire.hello(self.script.certificate)
        self.read = self.failures = 0
        self.secure = True
        self.forget()

    @rule(behind=st.sampled_from((b"", b"", b"", b"NOOP\r\n")))
    def say_starttls(self, behind):
        if self.secure:
            self.says(b"STARTTLS\r\n", "503 5.5.1")
        else:
            self.start_tls(behind)

    @rule(
        right=st.booleans(),
        form=st.sampled_from(("PLAIN", "plain", "LOGIN", "CRAM-MD5")),
    )
    def authenticate(self, right, form):
        password = PASSWORD if right else "wrong"
        plain = base64.b64encode(f"\0scanner\0{password}".encode())
        line = (
            b"AUTH "
            + form.encode()
            + (b" " + plain if form.upper() == "PLAIN" else b"")
            + b"\r\n"
        )
        if self.greeted != "EHLO":
            self.says(line, self.unless_tls_is_due("503 5.5.1"))
        elif not self.secure:
            self.says(line, self.unless_tls_is_due("538 5.7.1"))
        elif self.authed or self.sender is not None:
            self.says(line, "503 5.5.1")
        elif self.failures >= 3:
            self.says(line, "421 4.7.0", ends=True)
        elif form == "CRAM-MD5":
            self.says(line, "504 5.5.4")
        else:
            self.exchange(line, form, password, right=right)

    def exchange(self, line, form, password, *, right):
        if form == "LOGIN":
            self.says(line, "334 VXNlc")
            self.says(base64.b64encode(b"scanner") + b"\r\n", "334 UGFzc")
            line = base64.b64encode(password.encode()) + b"\r\n"
        self.says(line, "235 2.7.0" if right else "535 5.7.8")
        self.authed = right
        self.failures += not right

    def mail(self, argument, reply):
        if self.greeted is None or self.sender is not None:
            self.says(argument, self.unless_tls_is_due("503 5.5.1"))
            return False
        reply = self.unless_tls_is_due(reply)
        self.says(argument, reply)
        if reply != "530 5.7.0" or self.secure or self.script.listener != STARTTLS:
            self.reset()
            self.tainted = reply != "250 2.1.0"
        return reply == "250 2.1.0"

    @rule(
        local=locals_,
        domain=st.sampled_from(
            (
                "gem.nl",
                "GEM.nl",
                "gemeente.example",
                "hattem.example",
                "evil.example",
                "sub.gem.nl",
                None,
            )
        ),
        body=st.sampled_from(("", " BODY=8BITMIME", " SIZE=10")),
    )
    def mail_from(self, local, domain, body):
        path = "" if domain is None else f"{local}@{domain}"
        if body and self.greeted == "HELO":
            reply = "555 5.5.4"
        elif not self.home:
            reply = "530 5.7.0"
        else:
            own = domain is None or domain.lower() in self.home
            reply = "250 2.1.0" if own else "550 5.7.1"
        if self.mail(f"MAIL FROM:<{path}>{body}\r\n".encode(), reply):
            self.sender = path if domain is None else f"{local}@{domain.lower()}"

    @rule(path=bad_paths)
    def mail_from_nobody(self, path):
        self.mail(f"MAIL FROM:{path}\r\n".encode(), "501 5.1.7")

    @rule(
        local=locals_, domain=st.sampled_from(("b.nl", "B.NL", "d.example", "gem.nl"))
    )
    def recipient(self, local, domain):
        new = f"{local}@{domain.lower()}"
        if self.sender is None:
            reply = "503 5.5.1"
        elif new not in self.recipients and len(self.recipients) >= MOST:
            reply = "452 4.5.3"
        else:
            reply = "250 2.1.5"
        reply = self.unless_tls_is_due(reply)
        self.says(f"RCPT TO:<{local}@{domain}>\r\n".encode(), reply)
        if reply != "250 2.1.5":
            self.tainted = self.tainted or reply != "530 5.7.0"
        elif new not in self.recipients:
            self.recipients.append(new)

    @rule(path=bad_paths)
    def recipient_nobody(self, path):
        reply = self.unless_tls_is_due(
            "503 5.5.1" if self.sender is None else "501 5.1.3"
        )
        self.says(f"RCPT TO:{path}\r\n".encode(), reply)
        self.tainted = self.tainted or reply != "530 5.7.0"

    @rule(header=fields, text=texts, sound=st.booleans())
    def data(self, header, text, sound):
        if not (self.recipients or self.tainted):
            self.says(b"DATA\r\n", self.unless_tls_is_due("503 5.5.1"))
            return
        if sound:
            header, text = (
                b"From: jan@gem.nl\r\n" + header.replace(b"From:", b"X-From:"),
                b"sound",
            )
        content = header + b"\r\n\r\n" + text + b"\r\n"
        stuffed = b"\r\n".join(
            b"." + line if line[:1] == b"." else line for line in content.split(b"\r\n")
        )
        self.says(b"DATA\r\n", "354 End d")
        found = {f"{code} {status}" for code, status in flaws(stuffed, SIZE, 998)}
        wire = self.sitting.wire
        wire.send(stuffed + b".\r\n")
        self.run(self.loop.quiet())
        (reply,) = self.heard()
        due = {"554 5.5.1"} if not self.recipients else found or {"250 2.0.0"}
        assert reply in due
        self.kept += reply == "250 2.0.0"
        if reply == "250 2.0.0":
            taken = self.sitting.store.taken[-1]
            assert taken.split()[1] == without_stripped(content)
            assert (taken.sender, list(taken.recipients)) == (
                self.sender,
                self.recipients,
            )
        self.reset()

    @rule(
        recipients=st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), text=words
    )
    def all_at_once(self, recipients, text):
        if not self.home or self.unless_tls_is_due(None):
            self.become_somebody()
        if not self.home or self.unless_tls_is_due(None):
            return  # three wrong passwords ended the session
        sender = f"jan@{self.home[0]}"
        lines = [
            "EHLO x",
            f"MAIL FROM:<{sender}>",
            *(f"RCPT TO:<{one}@b.nl>" for one in recipients),
            "DATA",
            "From: jan@gem.nl",
            "",
            f"..{text}",
            ".",
            "NOOP",
            "",
        ]
        taken = list(dict.fromkeys(recipients))[:MOST]
        answers = ["250 2.1.5" if one in taken else "452 4.5.3" for one in recipients]
        self.says(
            "\r\n".join(lines).encode(),
            "250 poort",
            "250 2.1.0",
            *answers,
            "354 End d",
            "250 2.0.0",
            "250 2.0.0",
        )
        self.reset()
        self.greeted = "EHLO"
        self.kept += 1
        message = self.sitting.store.taken[-1]
        assert message.split()[1] == f"From: jan@gem.nl\r\n\r\n.{text}\r\n".encode()
        assert (message.sender, message.recipients) == (
            sender,
            tuple(f"{one}@b.nl" for one in taken),
        )

    @rule()
    def start_over(self):
        reply = self.unless_tls_is_due("250 2.0.0")
        self.says(b"RSET\r\n", reply)
        if reply == "250 2.0.0":
            self.reset()

    @rule(
        line=st.sampled_from(
            [
                (b"NOOP x", "250 2.0.0"),
                (b"VRFY a", "252 2.0.0"),
                (b"EXPN a", "502 5.5.1"),
                (b"HELP", "214 2.0.0"),
                (b"RSET x", "501 5.5.4"),
                (b"QUIT x", "501 5.5.4"),
                (b"DATA x", "501 5.5.4"),
            ]
        )
    )
    def beside(self, line):
        octets, reply = line
        free = octets[:4] in {b"NOOP", b"QUIT"}
        self.says(octets + b"\r\n", reply if free else self.unless_tls_is_due(reply))

    @rule(
        octets=st.sampled_from(
            (b"FOO", b"", b"NOOP\x01", b"\xff", b"NOOP " + b"x" * 2100)
        )
    )
    def nonsense(self, octets):
        if (
            self.script.listener == STARTTLS
            and not self.secure
            and octets.split(b" ")[0] != b"NOOP"
        ):
            self.says(octets + b"\r\n", "530 5.7.0")
            return
        self.errors += 1
        ends = self.errors >= 10
        self.says(octets + b"\r\n", "421 4.7.0" if ends else "500 5.5.2", ends=ends)

    @rule(who=callers, how=st.sampled_from(ENDS))
    def end(self, who, how):
        self.who = who  # calls next
        bdat = self.unless_tls_is_due("502 5.5.1")
        wire = self.sitting.wire
        match how:
            case "reset":
                wire.reset()
                self.says(b"", ends=True)
            case "half-close":
                wire.half_close()
                self.says(b"", ends=True)
            case "silence":
                self.run(asyncio.sleep(301))
                self.says(b"", "421 4.4.2", ends=True)
            case b"QUIT\r\n":
                self.says(how, "221 2.0.0", ends=True)
            case b"BDAT 3\r\nabc":
                self.says(how, bdat, ends=True)
            case _:
                self.says(how, "500 5.5.2", ends=True)

    @rule()
    def pause(self):
        self.run(asyncio.sleep(150))
        self.says(b"NOOP\r\n", "250 2.0.0")

    # --- what holds always -------------------------------------------------------------------
    @invariant()
    def only_what_was_told_is_kept(self):
        if hasattr(self, "sitting"):
            assert len(self.sitting.store.taken) == self.kept

    def hang_up(self):
        assert self.run(self.bench.finish(self.sitting)) is None
        assert self.bench.fault_outside() is None

    def teardown(self):
        if hasattr(self, "sitting"):
            self.hang_up()


TestDialogue = Dialogue.TestCase
TestDialogue.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
