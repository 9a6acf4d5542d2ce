"""Dialogues made by chance: a seed and a number give the same one for ever.

A dialogue begins as a session that an ordinary client could hold. Most are then hurt:
lines are dropped, doubled, swapped, given odd parameters or octets; ends of lines are
broken; content tries to smuggle. At last the octets are cut into segments, and the
client may fall silent, stop reading, half-close or reset anywhere.
"""

import base64
import dataclasses
import itertools
import random

from tests.fuzz.words import (
    ADDRESSES,
    BODIES,
    CERTIFICATE,
    DECISIONS,
    DOMAINS,
    ENDS,
    EVIL,
    FIELDS,
    HEAD,
    LOCAL_PARTS,
    NASTY,
    ODD_PATHS,
    PARAMETERS,
    SETTINGS,
    SMALL_MEMORY,
    STRANGER,
    VERBS,
)
from tests.unit.intake.intake_desk import (
    IMPLICIT,
    OPEN,
    PASSWORD,
    STARTTLS,
    proxy_header,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """One dialogue. `hurt`: it is no longer what an ordinary client says."""

    number: int
    listener: int
    address: str
    certificate: bytes | None
    limits: dict
    decision: str
    front: bytes | None  # a PROXY header; None: no load balancer
    high_water: int
    steps: tuple[tuple[str, object], ...]
    hurt: bool


def b64(octets):
    return base64.b64encode(octets)


class Writer:
    """Writes one script."""

    def __init__(self, seed, number):
        self.number = number
        self.chance = random.Random(f"{seed}/{number}")
        self.units = []  # (kind, octets)
        self.listener = self.chance.choice((OPEN, OPEN, STARTTLS, IMPLICIT))
        self.address = self.chance.choice(ADDRESSES)

    def script(self):
        chance = self.chance
        self.session()
        hurt = chance.random() < 0.65
        if hurt:
            for _ in range(chance.choice((1, 1, 2, 3, 6))):
                chance.choice(HURTS)(self)
        steps = self.steps(hurt)
        rough = any(kind not in {"send", "quiet", "hello", "turn"} for kind, _ in steps)
        return Script(
            self.number,
            self.listener,
            self.address,
            CERTIFICATE if chance.random() < 0.1 else None,
            chance.choice(SETTINGS if chance.random() < 0.97 else SMALL_MEMORY),
            chance.choice(DECISIONS),
            self.front(),
            chance.choice((65536, 65536, 0, 200)),
            tuple(steps),
            hurt or rough,
        )

    def front(self):
        """What a load balancer says first, if there is one; sometimes nonsense."""
        chance = self.chance
        if "%" in self.address or chance.random() > 0.1:
            return None
        here = "192.0.2.1" if ":" not in self.address else "2001:db8::1"
        header = bytearray(proxy_header(self.address, here))
        if chance.random() < 0.3:
            header[chance.randrange(len(header))] ^= 1 << chance.randrange(8)
            del header[chance.randint(0, 2 * len(header)) :]
        return bytes(header)

    # --- an ordinary session ------------------------------------------------------
    def line(self, text):
        code = self.chance.choice(("utf-8", "utf-8", "latin-1"))
        self.units.append(("line", text.encode(code) + b"\r\n"))

    def session(self):
        chance = self.chance
        self.line(
            chance.choice(
                (
                    "EHLO client.example",
                    "ehlo x",
                    "EHLO client.example",
                    "HELO old.example",
                )
            )
        )
        may_tls = self.listener == STARTTLS or (
            self.listener == OPEN and chance.random() < 0.4
        )
        if may_tls and chance.random() < 0.9:
            self.line("STARTTLS")
            self.units.append(("hello", b""))
            self.line("EHLO inside.example")
        self.stranger = self.address in {STRANGER, "2001:db8::5", "fe80::1%eth0"}
        needs = self.stranger or chance.random() < 0.2
        if needs and (may_tls or self.listener == IMPLICIT or chance.random() < 0.1):
            self.auth()
        for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
            self.transaction()
        if chance.random() < 0.7:
            self.line("QUIT")

    def auth(self):
        chance = self.chance
        right = chance.random() < 0.7
        user = (
            b"scanner" if right else chance.choice((b"scanner", b"nobody", b"\xff\xfe"))
        )
        password = (
            PASSWORD.encode() if right else chance.choice((b"wrong", b"", b"y" * 1100))
        )
        plain = b64(
            (chance.choice((b"", user)) if right else b"other")
            + b"\0"
            + user
            + b"\0"
            + password
        ).decode()
        forms = ("whole", "asked", "login", "login-initial")
        form = chance.choice(forms if right else (*forms, "cancel", "garbage"))
        lines = {
            "whole": [f"AUTH PLAIN {plain}"],
            "asked": ["auth plain", plain],
            "login": ["AUTH LOGIN", b64(user).decode(), b64(password).decode()],
            "login-initial": [
                f"AUTH LOGIN {b64(user).decode()}",
                b64(password).decode(),
            ],
            "cancel": ["AUTH LOGIN", "*"],
            "garbage": [
                "AUTH PLAIN",
                chance.choice(("!!", "=", "====", "a", "\xe9", "YQ", "Y" * 13000, "")),
            ],
        }[form]
        for _ in range(1 if right else chance.choice((1, 1, 4))):
            for line in lines:
                self.line(line)

    def path(self, odd):
        chance = self.chance
        if chance.random() < odd:
            return chance.choice(ODD_PATHS)
        return f"<{chance.choice(LOCAL_PARTS)}@{chance.choice(DOMAINS)}>"

    def sender(self):
        own = "hattem.example" if self.stranger else "gem.nl"
        if self.chance.random() < 0.9:
            return self.chance.choice((f"<jan@{own}>", f"<jan@{own}>", "<>"))
        return self.path(0.3)

    def with_parameters(self, text, odds):
        while self.chance.random() < odds:
            text += " " + self.chance.choice(PARAMETERS)
        return text

    def transaction(self):
        chance = self.chance
        self.line(self.with_parameters(f"MAIL FROM:{self.sender()}", 0.15))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
            self.line(self.with_parameters(f"RCPT TO:{self.path(0.08)}", 0.05))
        self.line("DATA")
        self.units.append(("content", self.content()))

    def content(self):
        chance = self.chance
        fields = [HEAD] if chance.random() < 0.93 else []
        for _ in range(chance.choice((0, 0, 0, 1, 2, 4))):
            fields.insert(chance.randint(0, len(fields)), chance.choice(FIELDS))
        body = b"\r\n" + b"".join(
            chance.choice(BODIES) for _ in range(chance.choice((0, 1, 1, 2, 4)))
        )
        return b"".join(fields) + (body if chance.random() < 0.96 else b"") + b".\r\n"

    # --- hurting it ------------------------------------------------------------------
    def pick(self):
        return self.chance.randrange(len(self.units))

    def steps(self, hurt):
        """Cut into segments, with pauses and accidents between."""
        chance = self.chance
        lockstep = chance.random() < 0.4
        steps = []
        for kind, octets in self.units:
            if kind == "hello":
                steps += [("quiet", None), ("hello", None)]
                continue
            if octets in {b"STARTTLS\r\n", b"DATA\r\n"} and chance.random() < 0.95:
                steps.append(("quiet", None))  # what a client of good manners does
            steps += [("send", piece) for piece in self.cut(octets)]
            if lockstep or octets[:8] == b"STARTTLS" or (octets[:4].upper() == b"AUTH"):
                steps.append(("quiet", None))
            elif chance.random() < 0.3:
                steps.append(("turn", chance.randint(1, 12)))
        steps = self.joined(steps)
        if hurt or chance.random() < 0.15:
            for _ in range(chance.choice((0, 0, 1, 1, 2))):
                steps.insert(chance.randint(0, len(steps)), self.accident())
        return steps

    def cut(self, octets):
        chance = self.chance
        form = chance.random()
        if form < 0.75 or len(octets) < 2:
            return [octets]
        if form < 0.78 and len(octets) < 400:
            return [octets[at : at + 1] for at in range(len(octets))]
        places = sorted(
            chance.randrange(1, len(octets)) for _ in range(chance.randint(1, 4))
        )
        edges = [0, *places, len(octets)]
        return [octets[a:b] for a, b in itertools.pairwise(edges) if a < b]

    def joined(self, steps):
        """Neighbouring segments become one, as on the network."""
        chance = self.chance
        out = []
        odds = chance.choice((0.0, 0.5, 1.0))
        for kind, argument in steps:
            if (
                kind == "send"
                and out
                and out[-1][0] == "send"
                and chance.random() < odds
            ):
                out[-1] = ("send", out[-1][1] + argument)
            else:
                out.append((kind, argument))
        return out

    def accident(self):
        chance = self.chance
        return chance.choice(
            (
                ("half-close", None),
                ("half-close", None),
                ("reset", None),
                ("wait", chance.choice((1, 3, 6, 31, 400))),
                ("read-no-more", None),
                ("read-on", None),
                ("stop", chance.choice((0, 5))),
                ("turn", chance.randint(1, 30)),
            )
        )


def _drop(writer):
    if len(writer.units) > 1:
        del writer.units[writer.pick()]


def _double(writer):
    at = writer.pick()
    writer.units.insert(at, writer.units[at])


def _swap(writer):
    units, one, other = writer.units, writer.pick(), writer.pick()
    units[one], units[other] = units[other], units[one]


def _insert_verb(writer):
    text = writer.chance.choice(VERBS).encode("latin-1") + b"\r\n"
    writer.units[writer.pick() : 0] = [("line", text)] * writer.chance.choice(
        (1, 1, 1, 1, 12)
    )


def _insert_stray(writer):
    text = writer.chance.choice(
        (
            b"STARTTLS\r\n",
            b"DATA\r\n",
            b"RSET\r\n",
            b"QUIT\r\n",
            b".\r\n",
            b"BDAT 5 LAST\r\nQUIT\r\n",
            EVIL,
        )
    )
    writer.units.insert(writer.pick(), ("line", text))


def _nasty(writer):
    at, chance = writer.pick(), writer.chance
    kind, octets = writer.units[at]
    place = chance.randint(0, len(octets))
    take = chance.choice((0, 0, 1, 2))
    writer.units[at] = (
        kind,
        octets[:place] + chance.choice(NASTY) + octets[place + take :],
    )


def _break_line_end(writer):
    at = writer.pick()
    kind, octets = writer.units[at]
    writer.units[at] = (kind, octets.removesuffix(b"\r\n") + writer.chance.choice(ENDS))


def _long(writer):
    at, chance = writer.pick(), writer.chance
    kind, octets = writer.units[at]
    size = chance.choice((1990, 2040, 2048, 2100, 12280, 12290, 65530, 65537, 70000))
    writer.units[at] = (
        kind,
        octets.removesuffix(b"\r\n") + b" " + b"x" * size + b"\r\n",
    )


def _smuggle(writer):
    chance = writer.chance
    sets = chance.choice(ENDS) + b"." + chance.choice(ENDS)
    spots = [at for at, unit in enumerate(writer.units) if unit[0] == "content"]
    if spots:
        at = chance.choice(spots)
        octets = writer.units[at][1]
        writer.units[at] = (
            "content",
            octets.removesuffix(b".\r\n") + b"b" + sets + EVIL + b".\r\n",
        )


def _shorten(writer):
    at = writer.pick()
    kind, octets = writer.units[at]
    writer.units[at] = (kind, octets[: writer.chance.randint(0, len(octets))])


def _noise(writer):
    chance = writer.chance
    octets = bytes(chance.choices(range(256), k=chance.randint(1, 60)))
    writer.units.insert(writer.pick(), ("line", octets))


def _other_case(writer):
    at = writer.pick()
    kind, octets = writer.units[at]
    writer.units[at] = (kind, octets.swapcase())


def _many_recipients(writer):
    lines = [
        (
            "line",
            b"RCPT TO:<" + writer.chance.choice((b"a@b@c", b"r%d@b.nl")) + b">\r\n",
        )
    ] * writer.chance.choice((3, 30, 110))
    writer.units[writer.pick() : 0] = [
        (kind, octets % at if b"%d" in octets else octets)
        for at, (kind, octets) in enumerate(lines)
    ]


HURTS = (
    _drop,
    _drop,
    _double,
    _double,
    _swap,
    _insert_verb,
    _insert_verb,
    _insert_stray,
    _nasty,
    _nasty,
    _nasty,
    _break_line_end,
    _long,
    _smuggle,
    _smuggle,
    _shorten,
    _noise,
    _other_case,
    _many_recipients,
)


def write_script(seed, number):
    """The dialogue with this number."""
    return Writer(seed, number).script()
