"""The search index; the shop fills it at its next start."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from catalog import search_tables

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RANK = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WORD = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TOKENS = sa.Text().with_variant(postgresql.TSVECTOR(), "postgresql")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "search_entry",
        sa.Column("id", RANK, autoincrement=False, nullable=False),
        sa.Column("facets", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("latency", sa.Float(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("tokens", TOKENS, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_entry")),
    )
    op.create_table(
        "search_source",
        sa.Column("listing_id", sa.Uuid(), nullable=False),
        sa.Column("id", RANK, nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("marks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("listing_id", name=op.f("pk_search_source")),
        sa.UniqueConstraint("id", name=op.f("uq_search_source_id")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_word",
        sa.Column("word", WORD, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("word", name=op.f("pk_search_word")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_deletion",
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("word", WORD, nullable=False),
        sa.PrimaryKeyConstraint("key", "word", name=op.f("pk_search_deletion")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_count",
        sa.Column("facet", sa.String(length=200), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("facet", name=op.f("pk_search_count")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_state",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_search_state")),
    )
    search_tables.make_tokens(op.get_bind())


def downgrade() -> None:
    """Take the revision back."""
    search_tables.drop_tokens(op.get_bind())
    for table in ("state", "count", "deletion", "word", "source", "entry"):
        op.drop_table(f"search_{table}")
