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
    with op.batch_alter_table("vendor", schema=None) as batch_op:
        batch_op.add_column(sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Take the revision back."""
    with op.batch_alter_table("vendor", schema=None) as batch_op:
        batch_op.drop_column("withdrawn")
    op.create_index("ix_version_listing_id", "version", ["listing_id"])
    op.create_index("ix_version_state", "version", ["state"])
    op.drop_index("ix_version_state_created", "version")
    op.drop_index("ix_version_listing_id_state", "version")
    op.drop_index("ix_listing_created_name", "listing")
