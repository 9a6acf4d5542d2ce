"""What was classified before is not classified again (R8: list mail, once per content).

A newsletter comes once for each reader. The key is a digest of everything that the
classifier reads, place by place, and of the policy: a letter of difference, and it is
classified anew. Kept are digests under a random key and classifications, never text.
"""

import collections
import hashlib
from collections.abc import Callable

from gateway.model.classification import Classification
from gateway.model.document import Document
from gateway.policy.rulebook import Policy

MOST = 2000  # classifications; one takes some kilobytes at most


class Memory:
    """The classifications of a process that were made or asked for last.

    Args:
        classify: The classifier; a function of its two arguments and nothing else.
        secret: 32 random octets, so that nobody who reads memory can try out texts.
        most: So many are kept.
    """

    def __init__(
        self,
        classify: Callable[[Document, Policy], Classification],
        secret: bytes,
        most: int = MOST,
    ) -> None:
        self._classify = classify
        self._secret = secret
        self._most = most
        self._known: collections.OrderedDict[bytes, Classification] = (
            collections.OrderedDict()
        )

    def classify(self, document: Document, policy: Policy) -> Classification:
        """Classify, or say what was found before; may be called from any thread."""
        digest = self._digest(document, policy)
        known = self._known.pop(digest, None)
        found = self._classify(document, policy) if known is None else known
        self._known[digest] = found  # the one that was asked for last stands last
        while len(self._known) > self._most:
            try:
                self._known.popitem(last=False)
            except KeyError:  # another thread was quicker
                break
        return found

    def _digest(self, document: Document, policy: Policy) -> bytes:
        """Of all parts with their lengths, so that no two documents read the same."""
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        parts = [policy.digest, str(len(document.segments))]
        for segment in document.segments:
            parts += (segment.place, segment.text)
        for missed in document.unreadable:
            parts += (missed.place, missed.reason)
        for part in parts:
            octets = part.encode("utf-8", "surrogatepass")
            digest.update(len(octets).to_bytes(8, "big"))
            digest.update(octets)
        return digest.digest()
