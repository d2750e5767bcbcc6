"""Indexes for the versions of a listing and for the newest listings; vendors whose proof was withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_index("ix_listing_created_name", "listing", ["created", "name"])
    op.create_index("ix_version_listing_id_state", "version", ["listing_id", "state"])
    op.create_index("ix_version_state_created", "version", ["state", "created"])
    op.drop_index("ix_version_listing_id", "version")
    op.drop_index("ix_version_state", "version")
    # Added in place: a table that is made anew is dropped first, and SQLite then looks through all listings
    # for each vendor.
    op.add_column("vendor", sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Take the revision back."""
    op.drop_column("vendor", "withdrawn")
    op.create_index("ix_version_listing_id", "version", ["listing_id"])
    op.create_index("ix_version_state", "version", ["state"])
    op.drop_index("ix_version_state_created", "version")
    op.drop_index("ix_version_listing_id_state", "version")
    op.drop_index("ix_listing_created_name", "listing")
