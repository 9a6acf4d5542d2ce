"""Our events beside the names of ETSI EN 319 522-1 section 6 (F-16, F-20, INV-7).

For exchange with others only. An SMTP 250 of the next hop is a relay to a system that
is no registered delivery service, never a hand-over to a person; what has no honest
name there has none here. Compare with the published text before quoting it in a
contract.
"""

import enum


class Erds(enum.Enum):
    """ERDS evidence: code, name, and whether it states a success."""

    SUBMISSION_ACCEPTANCE = ("A.1", "SubmissionAcceptance", True)
    SUBMISSION_REJECTION = ("A.2", "SubmissionRejection", False)
    RELAY_ACCEPTANCE = ("B.1", "RelayAcceptance", True)
    RELAY_REJECTION = ("B.2", "RelayRejection", False)
    RELAY_FAILURE = ("B.3", "RelayFailure", False)
    NOTIFICATION = ("C.1", "NotificationForAcceptance", True)
    NOTIFICATION_FAILURE = ("C.2", "NotificationForAcceptanceFailure", False)
    CONSIGNMENT_ACCEPTANCE = ("C.3", "ConsignmentAcceptance", True)
    CONSIGNMENT_REJECTION = ("C.4", "ConsignmentRejection", False)
    ACCEPTANCE_EXPIRY = ("C.5", "AcceptanceRejectionExpiry", False)
    CONTENT_CONSIGNMENT = ("D.1", "ContentConsignment", True)
    CONTENT_CONSIGNMENT_FAILURE = ("D.2", "ContentConsignmentFailure", False)
    CONSIGNMENT_NOTIFICATION = ("D.3", "ConsignmentNotification", True)
    CONSIGNMENT_NOTIFICATION_FAILURE = ("D.4", "ConsignmentNotificationFailure", False)
    CONTENT_HANDOVER = ("E.1", "ContentHandover", True)
    CONTENT_HANDOVER_FAILURE = ("E.2", "ContentHandoverFailure", False)
    RELAY_TO_NON_ERDS = ("F.1", "RelayToNonERDS", True)
    RELAY_TO_NON_ERDS_FAILURE = ("F.2", "RelayToNonERDSFailure", False)
    RECEIVED_FROM_NON_ERDS = ("F.3", "ReceivedFromNonERDS", True)

    @property
    def code(self) -> str:
        """The letter and number of the standard."""
        return self.value[0]

    @property
    def title(self) -> str:
        """The name of the standard."""
        return self.value[1]

    @property
    def positive(self) -> bool:
        """Whether it claims that a step succeeded."""
        return self.value[2]


# Every event of ours has a line. None: our own name space, nothing there fits. A held
# message was accepted and is not yet decided; when nobody decides, no hop was asked, so
# that no relay failed. A notice to the sender is no notice to a recipient (C, D).
EVENTS: dict[str, Erds | None] = {
    "accepted": Erds.SUBMISSION_ACCEPTANCE,
    "refused": Erds.SUBMISSION_REJECTION,
    "held": None,
    "hold-expired": None,
    "intent": None,
    "delivered": Erds.RELAY_TO_NON_ERDS,
    "deferred": None,
    "delivery-unknown": None,
    "failed": Erds.RELAY_TO_NON_ERDS_FAILURE,
    "expired": Erds.RELAY_TO_NON_ERDS_FAILURE,
    "notice-sent": None,
    "notice-dropped": None,
    "partner-applied": None,
    "config-loaded": None,
    "export-made": None,
}
