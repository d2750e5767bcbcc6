"""Vendors and their versions under review, people, imports, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "import_job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("pinned", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=False),
        sa.Column("error_facts", sa.JSON(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("mirror_id", sa.Uuid(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_job")),
    )
    with op.batch_alter_table("import_job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_import_job_mirror_id"), ["mirror_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_import_job_owner"), ["owner"], unique=False)
        batch_op.create_index(batch_op.f("ix_import_job_state"), ["state"], unique=False)

    op.create_table(
        "mirror",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=130), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("pinned", sa.String(), nullable=False),
        sa.Column("looked", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error_code", sa.String(), nullable=False),
        sa.Column("error_facts", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mirror")),
        sa.UniqueConstraint("name", name=op.f("uq_mirror_name")),
    )
    with op.batch_alter_table("mirror", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mirror_due"), ["due"], unique=False)

    op.create_table(
        "upload",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
    )
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_upload_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_upload_sha256"), ["sha256"], unique=False)

    op.create_table(
        "vendor_member",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("vendor_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name=op.f("fk_vendor_member_vendor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vendor_member")),
        sa.UniqueConstraint("vendor_id", "account_id", name=op.f("uq_vendor_member_vendor_id")),
    )
    with op.batch_alter_table("vendor_member", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vendor_member_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_vendor_member_vendor_id"), ["vendor_id"], unique=False)

    op.create_table(
        "listing_day",
        sa.Column("listing_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("views", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["listing_id"], ["listing.id"], name=op.f("fk_listing_day_listing_id")),
        sa.PrimaryKeyConstraint("listing_id", "day", name=op.f("pk_listing_day")),
    )
    op.create_table(
        "rating",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("listing_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("stars", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["listing_id"], ["listing.id"], name=op.f("fk_rating_listing_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rating")),
        sa.UniqueConstraint("listing_id", "account_id", name=op.f("uq_rating_listing_id")),
    )
    with op.batch_alter_table("rating", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rating_listing_id"), ["listing_id"], unique=False)

    op.create_table(
        "finding",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("by", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_finding_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
    )
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_finding_version_id"), ["version_id"], unique=False)

    op.create_table(
        "version_check",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("check", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("scanner", sa.String(), nullable=False),
        sa.Column("scanner_version", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_version_check_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_check")),
    )
    with op.batch_alter_table("version_check", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_version_check_version_id"), ["version_id"], unique=False)

    op.create_table(
        "version_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("before", sa.String(), nullable=False),
        sa.Column("after", sa.String(), nullable=False),
        sa.Column("by", sa.Uuid(), nullable=True),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_version_event_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_event")),
    )
    with op.batch_alter_table("version_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_version_event_version_id"), ["version_id"], unique=False)

    op.create_table(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_event_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_action"), ["action"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_at"), ["at"], unique=False)

    op.create_table(
        "sign_in_failure",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_failure")),
    )
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("password", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("disabled", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("name", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("scopes", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("expires", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("used", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("listing", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gated", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("price", sa.JSON(), nullable=False, server_default="{}"))

    with op.batch_alter_table("vendor", schema=None) as batch_op:
        batch_op.add_column(sa.Column("domain", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("proof", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("proved", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("license_base", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("offer", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("claims", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("measured", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("check_state", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("check_run", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("rules", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("checked", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("wanted", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("reviewed", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("created_by", sa.Uuid(), nullable=True))
        batch_op.create_index(batch_op.f("ix_version_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_version_created_by"), ["created_by"], unique=False)

    with op.batch_alter_table("web_session", schema=None) as batch_op:
        batch_op.add_column(sa.Column("agent", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("address", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(
            sa.Column(
                "created", sa.DateTime(timezone=True), nullable=False, server_default="2026-11-25 00:00:00"
            )
        )
        batch_op.create_index(batch_op.f("ix_web_session_account_id"), ["account_id"], unique=False)
    # What is on the shelf of a shop before this revision is the market's own.
    op.execute("UPDATE version SET check_state = 'passed', reviewed = true WHERE state = 'listed'")


def downgrade() -> None:
    """Take the revision back."""
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.drop_column("password")
        batch_op.drop_column("disabled")
    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.drop_column("name")
        batch_op.drop_column("scopes")
        batch_op.drop_column("expires")
        batch_op.drop_column("used")
    with op.batch_alter_table("listing", schema=None) as batch_op:
        batch_op.drop_column("gated")
        batch_op.drop_column("price")
    with op.batch_alter_table("vendor", schema=None) as batch_op:
        batch_op.drop_column("domain")
        batch_op.drop_column("proof")
        batch_op.drop_column("proved")
    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_version_state"))
        batch_op.drop_index(batch_op.f("ix_version_created_by"))
        batch_op.drop_column("license_base")
        batch_op.drop_column("offer")
        batch_op.drop_column("claims")
        batch_op.drop_column("measured")
        batch_op.drop_column("check_state")
        batch_op.drop_column("check_run")
        batch_op.drop_column("rules")
        batch_op.drop_column("checked")
        batch_op.drop_column("wanted")
        batch_op.drop_column("reviewed")
        batch_op.drop_column("created_by")
    with op.batch_alter_table("web_session", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_web_session_account_id"))
        batch_op.drop_column("agent")
        batch_op.drop_column("address")
        batch_op.drop_column("created")
    op.drop_table("sign_in_failure")
    op.drop_table("audit_event")
    op.drop_table("version_event")
    op.drop_table("version_check")
    op.drop_table("finding")
    op.drop_table("rating")
    op.drop_table("listing_day")
    op.drop_table("vendor_member")
    op.drop_table("upload")
    op.drop_table("mirror")
    op.drop_table("import_job")
