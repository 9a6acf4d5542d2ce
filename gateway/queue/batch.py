"""What is to be written in one transaction: contents, jobs and records together."""

import dataclasses

from gateway.model.ids import MessageId, MunicipalityId
from gateway.model.job import Job
from gateway.model.octets import Octets
from gateway.model.record import Record


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Octets to be kept for a message of ours."""

    message: MessageId
    municipality: MunicipalityId
    octets: Octets = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """All of it is written, or none."""

    contents: tuple[Content, ...] = ()
    jobs: tuple[Job, ...] = ()  # new ones
    records: tuple[Record, ...] = ()

    def __add__(self, other: "Batch") -> "Batch":
        """Both together, this one first."""
        return Batch(
            self.contents + other.contents,
            self.jobs + other.jobs,
            self.records + other.records,
        )
