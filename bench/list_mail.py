"""What remembering classifications saves of a newsletter, and costs ordinary mail (R8).

usage: python bench/list_mail.py [READERS]

The newsletter is the ordinary HTML mail of `classify.py`, one copy for each reader, with
his own To, Message-ID, List-Unsubscribe and Received. Ordinary mail is as many different
mails of the same kind. Both are read and classified, with and without memory, in turns.
CPU time of this process in milliseconds for one mail. Prints one JSON object; exit 1
when the newsletter is not cheaper by a fifth, or ordinary mail dearer by a tenth.
"""

import functools
import json
import pathlib
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.classify import mail  # noqa: E402
from gateway.extract.mime import read  # noqa: E402
from gateway.model.classification import Classification  # noqa: E402
from gateway.policy.classify import classify  # noqa: E402
from gateway.policy.memory import Memory  # noqa: E402
from gateway.policy.rulebook import Policy  # noqa: E402
from tests.unit.policy import policy_desk  # noqa: E402

ROUNDS = 5
READERS = 200
LEAST_SAVED, MOST_LOST = 0.2, 0.1


def copies(chance: random.Random, readers: int) -> list[bytes]:
    letter = mail(chance, with_case=False, html=True)
    return [
        (
            f"Received: from list by mail; id {reader:08}\r\nTo: lezer{reader}@x.example\r\n"
            f"Message-ID: <{reader}@lijst.example>\r\nList-Id: <nieuws.lijst.example>\r\n"
            f"List-Unsubscribe: <https://lijst.example/uit/{reader:08x}>\r\n"
            "Precedence: bulk\r\n"
        ).encode()
        + letter
        for reader in range(readers)
    ]


def spent_ms(mails: Sequence[bytes], run: Callable[[bytes], object]) -> float:
    started = time.process_time()
    for octets in mails:
        run(octets)
    return (time.process_time() - started) * 1000 / len(mails)


def _anew(policy: Policy, octets: bytes) -> Classification:
    return classify(read(octets), policy)


def _remembered(memory: Memory, policy: Policy, octets: bytes) -> Classification:
    return memory.classify(read(octets), policy)


def main() -> int:
    readers = int(sys.argv[1]) if len(sys.argv) > 1 else READERS
    chance = random.Random(7516)
    policy = policy_desk.policy()
    kinds = {
        "newsletter": copies(chance, readers),
        "ordinary": [mail(chance, False, True) for _ in range(readers)],
    }
    answer: dict[str, object] = {"readers": readers, "rounds": ROUNDS}
    worse = False
    for name, mails in kinds.items():
        anew, remembered = [], []
        for _ in range(ROUNDS):
            memory = Memory(classify, bytes(32))
            anew.append(spent_ms(mails, functools.partial(_anew, policy)))
            remembered.append(
                spent_ms(
                    mails,
                    functools.partial(_remembered, memory, policy),
                )
            )
        without, with_memory = statistics.median(anew), statistics.median(remembered)
        answer[name] = {
            "without_ms": round(without, 3),
            "with_ms": round(with_memory, 3),
            "saved": round(1 - with_memory / without, 3),
        }
        least = LEAST_SAVED if name == "newsletter" else -MOST_LOST
        worse = worse or 1 - with_memory / without < least
    print(json.dumps(answer))
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
