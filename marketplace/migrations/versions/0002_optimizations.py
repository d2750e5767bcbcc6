"""Optimisations, the variants that they pick, and deployments of such variants."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "optimization",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("listing", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("version_digest", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("objective", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("sample", sa.String(), nullable=False),
        sa.Column("sample_name", sa.String(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=False),
        sa.Column("error_facts", sa.JSON(), nullable=False),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_optimization")),
    )
    with op.batch_alter_table("optimization", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_optimization_listing"), ["listing"], unique=False)
        batch_op.create_index(batch_op.f("ix_optimization_owner"), ["owner"], unique=False)
        batch_op.create_index(batch_op.f("ix_optimization_state"), ["state"], unique=False)

    op.create_table(
        "variant",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("optimization_id", sa.Uuid(), nullable=False),
        sa.Column("listing", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("version_digest", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("certificate", sa.JSON(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_variant")),
    )
    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_variant_listing"), ["listing"], unique=False)
        batch_op.create_index(batch_op.f("ix_variant_optimization_id"), ["optimization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_variant_version_digest"), ["version_digest"], unique=False)

    with op.batch_alter_table("deployment", schema=None) as batch_op:
        # Deployments that are there already run their version as it came.
        batch_op.add_column(sa.Column("variant", sa.String(), nullable=False, server_default=""))
        batch_op.create_index(batch_op.f("ix_deployment_variant"), ["variant"], unique=False)


def downgrade() -> None:
    """Take the revision back."""
    # Not by a copy of the table, which SQLite would not let go of under its events.
    with op.batch_alter_table("deployment", schema=None, recreate="never") as batch_op:
        batch_op.drop_index(batch_op.f("ix_deployment_variant"))
        batch_op.drop_column("variant")

    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_variant_version_digest"))
        batch_op.drop_index(batch_op.f("ix_variant_optimization_id"))
        batch_op.drop_index(batch_op.f("ix_variant_listing"))

    op.drop_table("variant")
    with op.batch_alter_table("optimization", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_optimization_state"))
        batch_op.drop_index(batch_op.f("ix_optimization_owner"))
        batch_op.drop_index(batch_op.f("ix_optimization_listing"))

    op.drop_table("optimization")
