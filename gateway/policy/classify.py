"""Document and rule packs to Classification: what a message is about, and how sure."""

from gateway.model.classification import Classification, Level
from gateway.model.document import Document
from gateway.policy.rulebook import Policy
from gateway.policy.score import judge_pack


def classify(document: Document, policy: Policy) -> Classification:
    """Classify one message.

    Args:
        document: What a recipient could read of it.
        policy: Rule packs, compiled.

    Returns:
        The regimes found, most certain first. The level is theirs; without any, it is
        UNREADABLE when some part could not be read, else NONE (R2).
    """
    hits = policy.matcher.find(document)
    judged = (judge_pack(pack, hits.get(pack.id, ())) for pack in policy.packs.values())
    regimes = sorted(
        (finding for finding in judged if finding is not None),
        key=lambda finding: (-finding.level, -finding.score, finding.id),
    )
    if regimes:
        level = regimes[0].level
    else:
        level = Level.UNREADABLE if document.unreadable else Level.NONE
    return Classification(level, tuple(regimes), document.unreadable)
