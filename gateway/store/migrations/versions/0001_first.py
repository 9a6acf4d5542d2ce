"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "message",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("municipality", sa.Text, nullable=False),
        sa.Column("size_octets", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("municipality", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("size_octets", sa.BigInteger, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("accepted_at", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("unknowns", sa.Integer, nullable=False),
        sa.Column("lease_token", sa.BigInteger, nullable=False),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("intent_at", sa.BigInteger),
        sa.Column("hold_code", sa.Text),
        sa.Column("delay_notice_sent", sa.Boolean, nullable=False),
        sa.Column("last_cause", sa.Text),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    op.create_index("ix_job_message_id", "job", ["message_id"])
    op.create_index(
        "ix_job_due_at",
        "job",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_job_state_next_attempt_at", "job", ["state", "next_attempt_at"])
    op.create_table(
        "evidence_record",
        sa.Column("seq", _BIG_KEY, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("municipality", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("retention_class", sa.Text, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.Text),
        sa.Column("wrapped_key", sa.LargeBinary),
        sa.Column("openings", sa.LargeBinary),
        sa.PrimaryKeyConstraint("seq", name="pk_evidence_record"),
        sa.UniqueConstraint("id", name="uq_evidence_record_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_evidence_record_message_id", "evidence_record", ["message_id"])
    op.create_index(
        "ix_evidence_record_origin_seq", "evidence_record", ["origin", "seq"]
    )
    op.create_table(
        "evidence_leaf",
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("leaf_index", sa.BigInteger, nullable=False),
        sa.Column("record_seq", _BIG_KEY, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("origin", "leaf_index", name="pk_evidence_leaf"),
        sa.UniqueConstraint("record_seq", name="uq_evidence_leaf_record_seq"),
        sa.ForeignKeyConstraint(
            ["record_seq"], ["evidence_record.seq"], name="fk_evidence_leaf_record_seq"
        ),
    )
    op.create_table(
        "evidence_checkpoint",
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("origin", "size", name="pk_evidence_checkpoint"),
    )
    op.create_table(
        "sequencer",
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("origin", name="pk_sequencer"),
    )
    op.create_table(
        "partner",
        sa.Column("municipality", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("registration", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("municipality", "id", name="pk_partner"),
    )
    op.create_table(
        "partner_domain",
        sa.Column("municipality", sa.Text, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("partner_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("municipality", "domain", name="pk_partner_domain"),
        sa.ForeignKeyConstraint(
            ["municipality", "partner_id"],
            ["partner.municipality", "partner.id"],
            name="fk_partner_domain_municipality_partner_id",
        ),
    )
    marker = op.create_table(
        "commit_marker",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_commit_marker"),
    )
    op.bulk_insert(marker, [{"id": 1, "token": b""}])
