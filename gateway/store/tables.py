"""The tables. Instants are integers: microseconds since 1970, UTC.

Columns in clear hold ids, states, instants and counters. Addresses, routes, regimes,
content and openings are sealed (`sealed`), each under a key of its own that is wrapped
by an epoch key outside the database (R4). The migrations make these tables; a test
compares the two.
"""

import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

HEAD = "0002"  # the migration that this code needs
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("municipality", Text, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("content", LargeBinary),  # sealed chunks; null: they lie in a spool file
)

# A job outlives the content of its message, so there is no foreign key between them.
job = Table(
    "job",
    metadata,
    Column("id", Text, primary_key=True),
    Column("message_id", Text, nullable=False, index=True),
    Column("municipality", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("policy", Text, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    # When a lease may take it: next attempt, or the end of the present lease. Null for
    # HELD and DONE, so that the index over it holds only what can become due.
    Column("due_at", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("unknowns", Integer, nullable=False),
    Column("lease_token", BigInteger, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until", BigInteger),
    Column("intent_at", BigInteger),
    Column("hold_code", Text),
    Column("delay_notice_sent", Boolean, nullable=False),
    Column("last_cause", Text),
    Column("epoch", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
Index(
    "ix_job_due_at",
    job.c.due_at,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index("ix_job_state_next_attempt_at", job.c.state, job.c.next_attempt_at)

# `seq` grows in commit order: SQLite gives it out inside the one write transaction.
evidence_record = Table(
    "evidence_record",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("origin", Text, nullable=False),
    Column("municipality", Text, nullable=False),
    Column("message_id", Text, index=True),
    Column("at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("retention_class", Text, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("epoch", Text),
    Column("wrapped_key", LargeBinary),  # null, with openings: erased
    Column("openings", LargeBinary),
    sqlite_autoincrement=True,
)
Index("ix_evidence_record_origin_seq", evidence_record.c.origin, evidence_record.c.seq)

evidence_leaf = Table(
    "evidence_leaf",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "record_seq",
        ForeignKey("evidence_record.seq"),
        nullable=False,
        unique=True,
    ),
    Column("leaf_hash", LargeBinary, nullable=False),
)

# The primary key is what keeps two roots of equal size out (F-22).
evidence_checkpoint = Table(
    "evidence_checkpoint",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

sequencer = Table(
    "sequencer",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
)

partner = Table(
    "partner",
    metadata,
    Column("municipality", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("registration", Text, nullable=False),  # canonical JSON
)

partner_domain = Table(
    "partner_domain",
    metadata,
    Column("municipality", Text, primary_key=True),
    Column("domain", Text, primary_key=True),
    Column("partner_id", Text, nullable=False),
    ForeignKeyConstraint(
        ["municipality", "partner_id"],
        ["partner.municipality", "partner.id"],
    ),
)

# One row: the random token of the last batch. Whoever saw COMMIT fail looks here
# whether it happened all the same (R29).
commit_marker = Table(
    "commit_marker",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token", LargeBinary, nullable=False),
)


# What was counted of copies that a client in shadow mode handed over (R3): no address,
# no content. `day` is of ISO 8601, UTC; `kind` says what `name` is a name of.
shadow_count = Table(
    "shadow_count",
    metadata,
    Column("municipality", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("verdict", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("total", BigInteger, nullable=False),
)


def microseconds(at: datetime.datetime) -> int:
    """An aware instant as it is stored."""
    return (at - _EPOCH) // _MICROSECOND


def instant(stored: int) -> datetime.datetime:
    """A stored instant, aware UTC."""
    return _EPOCH + stored * _MICROSECOND
