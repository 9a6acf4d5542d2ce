"""How long extract and classify take for a mail of 20 KB: median, 95 % and worst.

usage: python bench/classify.py [ROUNDS]

The mail is made of everyday municipal sentences, plain and HTML, half of it with a case
in the middle. In the ordinary mail a third of the sentences has words that some rule
looks for, in the dense mail each has. CPU time of this process counts, which other
programs on the machine do not lengthen. Prints one JSON object; exit 1 when the median
of ordinary mail is over 3 ms.
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
# Sentences with words that some rule looks for: one in three of the ordinary mail, all of
# the dense one.
DENSE = (
    "De burgemeester begint met koffie in de Merelstraat, daarna is er overleg.",
    "Graag ontvangen wij de factuur met kenmerk Z-2026-001234 voor het einde van de maand.",
    "Mevrouw De Vries belde over de melding en vraagt of haar moeder hulp kan krijgen.",
    "De thuiszorg en de huisarts zijn op de hoogte, de medicatie is geleverd.",
    "Uw afspraaknummer is 497071793 en uw IBAN eindigt op 4567.",
    "Één keer is gevraagd naar de procedure, zie artikel 18b van de Participatiewet.",
)
PLAIN = (
    "De kermis is rustig verlopen en de evaluatie is op 18 september om 20.00 uur.",
    "De vergunning is verleend; bezwaar maken kan binnen zes weken na verzending.",
    "De politie telde in september elf meldingen, twee minder dan in augustus.",
    "De straatverlichting bij de garageboxen is hersteld, dat was lang toegezegd.",
    "Vanaf dinsdag geldt eenrichtingsverkeer in de Lijsterlaan, ook voor fietsers.",
    "Neem voor de afspraak een recente pasfoto en uw oude paspoort mee naar het loket.",
    "De subsidie voor geveltuinen loopt nog tot juni; er is genoeg geld beschikbaar.",
    "Het café aan de haven krijgt een terras van vijf bij drie meter, tot 22.00 uur.",
    "Wij verwerken uw formulier binnen vijf werkdagen en sturen u een bevestiging.",
    "De notulen van de vorige vergadering zijn zonder wijzigingen vastgesteld.",
    "Grofvuil staat op dinsdag voor half acht langs de weg, niet op het fietspad.",
    "De speeltuinvereniging houdt veertig pannenkoeken over en zoekt een vriezer.",
)
SENTENCES = {"ordinary": DENSE + PLAIN, "dense": DENSE}
CASE = (
    "De heer J. Voorbeeld, geboren 4 mei 1980, BSN 111222333, is vannacht opgenomen. "
    "De psychiater vond een crisismaatregel nodig en de burgemeester heeft getekend."
)


def mail(
    chance: random.Random, with_case: bool, html: bool, kind: str = "ordinary"
) -> bytes:
    lines: list[str] = []
    while sum(map(len, lines)) < SIZE_OCTETS:
        lines.append(chance.choice(SENTENCES[kind]))
    if with_case:
        lines.insert(len(lines) // 2, CASE)
    text = "\r\n".join(f"<p>{line}</p>" if html else line for line in lines)
    subtype = "html" if html else "plain"
    return (
        "From: Ambtenaar <ambtenaar@voorbeeldstad.example>\r\nSubject: weekbericht\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/{subtype}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    ).encode()


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    chance = random.Random(7516)
    policy = policy_desk.policy()
    spent: dict[str, list[float]] = {
        f"{kind} {form}": [] for kind in SENTENCES for form in ("plain", "html")
    }
    for at in range(rounds):
        for name, times in spent.items():
            kind, form = name.split()
            octets = mail(chance, at % 2 == 0, form == "html", kind)
            started = time.process_time()
            classify(read(octets), policy)
            times.append((time.process_time() - started) * 1000)
    answer = {
        name: {
            "median_ms": round(statistics.median(times), 2),
            "p95_ms": round(statistics.quantiles(times, n=20)[-1], 2),
            "worst_ms": round(max(times), 2),
        }
        for name, times in spent.items()
    }
    print(json.dumps({"octets": SIZE_OCTETS, "rounds": rounds, **answer}))
    late = [name for name, t in answer.items() if t["median_ms"] > BUDGET_MS]
    return int(any(name.startswith("ordinary") for name in late))


if __name__ == "__main__":
    sys.exit(main())
