"""How long extract and classify take for a mail of 20 KB: median, 95 % and worst.

usage: python bench/classify.py [ROUNDS]

The mail is made of everyday municipal sentences, plain and HTML, with a case in the
middle; half of the messages hold none. Prints one JSON object; exit 1 when the median
is over the 3 ms that the design allows.
"""

import json
import pathlib
import random
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from gateway.extract.mime import read  # noqa: E402
from gateway.policy.classify import classify  # noqa: E402
from tests.unit.policy import policy_desk  # noqa: E402

BUDGET_MS = 3.0
SIZE_OCTETS = 20_000
SENTENCES = (
    "De kermis is rustig verlopen en de evaluatie is op 18 september om 20.00 uur.",
    "De burgemeester begint met koffie in de Merelstraat, daarna is er overleg.",
    "Graag ontvangen wij de factuur met kenmerk Z-2026-001234 voor het einde van de maand.",
    "De vergunning is verleend; bezwaar maken kan binnen zes weken na verzending.",
    "Mevrouw De Vries belde over de melding en vraagt of haar moeder hulp kan krijgen.",
    "De thuiszorg en de huisarts zijn op de hoogte, de medicatie is geleverd.",
    "Uw afspraaknummer is 497071793 en uw IBAN eindigt op 4567.",
    "De politie telde in september elf meldingen, twee minder dan in augustus.",
    "Één keer is gevraagd naar de procedure, zie artikel 18b van de Participatiewet.",
)
CASE = (
    "De heer J. Voorbeeld, geboren 4 mei 1980, BSN 111222333, is vannacht opgenomen. "
    "De psychiater vond een crisismaatregel nodig en de burgemeester heeft getekend."
)


def mail(chance: random.Random, with_case: bool, html: bool) -> bytes:
    lines: list[str] = []
    while sum(map(len, lines)) < SIZE_OCTETS:
        lines.append(chance.choice(SENTENCES))
    if with_case:
        lines.insert(len(lines) // 2, CASE)
    text = "\r\n".join(f"<p>{line}</p>" if html else line for line in lines)
    kind = "html" if html else "plain"
    return (
        "From: Ambtenaar <ambtenaar@voorbeeldstad.example>\r\nSubject: weekbericht\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    ).encode()


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    chance = random.Random(7516)
    policy = policy_desk.policy()
    spent: dict[str, list[float]] = {"plain": [], "html": []}
    for at in range(rounds):
        for kind, times in spent.items():
            octets = mail(chance, with_case=at % 2 == 0, html=kind == "html")
            started = time.perf_counter()
            classify(read(octets), policy)
            times.append((time.perf_counter() - started) * 1000)
    answer = {
        kind: {
            "median_ms": round(statistics.median(times), 2),
            "p95_ms": round(statistics.quantiles(times, n=20)[-1], 2),
            "worst_ms": round(max(times), 2),
        }
        for kind, times in spent.items()
    }
    print(json.dumps({"octets": SIZE_OCTETS, "rounds": rounds, **answer}))
    return int(any(times["median_ms"] > BUDGET_MS for times in answer.values()))


if __name__ == "__main__":
    sys.exit(main())
