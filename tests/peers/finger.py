"""posttls-finger: Postfix's own judgement of a destination's TLS and DANE.

It asks the system's resolver, so it runs in a mount namespace of its own where
resolv.conf names the resolver of the tests.
"""

import dataclasses
import os
import subprocess

from tests.peers import daemon, presence, unbound


@dataclasses.dataclass(frozen=True)
class Finger:
    """What posttls-finger said."""

    output: str

    @property
    def verified(self) -> bool:
        """Whether a TLSA record matched, on the last host that was tried."""
        return "Verified TLS connection established" in self.output

    @property
    def usages(self) -> tuple[str, ...]:
        """Postfix's words for how it matched: "DANE-EE", "DANE-TA", or none."""
        words = ("DANE-EE", "DANE-TA")
        usage = {"DANE-EE": " 3 ", "DANE-TA": " 2 "}
        matched = [line for line in self.output.splitlines() if "Matched" in line]
        return tuple(w for w in words if any(usage[w] in line for line in matched))


def judge(
    domain: str, resolver: unbound.Unbound, *extra: str, level: str = "dane-only"
) -> Finger:
    """Look up `domain`, connect, judge, and hang up before any envelope.

    Args:
        domain: A mail domain, or "[host]" to leave the MX look-up out.
        resolver: The validating resolver to ask; it must listen on port 53.
        extra: More options of posttls-finger.
        level: dane, dane-only, encrypt, verify, ...
    """
    presence.need("posttls-finger", "unshare")
    with daemon.folder("finger") as place:
        answers = place / "resolv.conf"
        text = f"nameserver {resolver.address}\noptions edns0 trust-ad timeout:3\n"
        answers.write_text(text, "ascii")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        command = [
            *(presence.find("unshare"), "--mount", "sh", "-c", script, str(answers)),
            *(presence.find("posttls-finger"), "-c", "-l", level, "-T", "10"),
            *("-t", "10", "-L", "summary,verbose", *extra, domain),
        ]
        # A fresh Postfix may have no main.cf, and nothing of the machine's may count.
        (place / "main.cf").write_text("compatibility_level = 3.6\n", "ascii")
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "MAIL_CONFIG": str(place)},
        )
    return Finger(done.stdout + done.stderr)
