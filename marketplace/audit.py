"""The audit log: who did what to what, when and from where. Rows are only ever added.

`record` writes into the transaction that makes the change, so that both stand or neither. What opens
a door (keys, links, passwords) never comes here: facts are names, numbers and reasons.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select

from marketplace.models import Account, AuditEvent

LONGEST = 200  # characters of a subject and of a text among the facts
SECRETS = frozenset({"cookie", "key", "link", "password", "secret", "token"})


class AuditAction(StrEnum):
    """subject:action, in the order of the alphabet."""

    create_account = "account:create"
    disable_account = "account:disable"
    enable_account = "account:enable"
    change_roles = "account:roles"
    begin_deployment = "deployment:begin"
    remove_deployment = "deployment:remove"
    stop_deployment = "deployment:stop"
    begin_import = "import:begin"
    cancel_import = "import:cancel"
    remove_import = "import:remove"
    retry_import = "import:retry"
    create_key = "key:create"
    create_link = "login-link:create"
    create_mirror = "mirror:create"
    remove_mirror = "mirror:remove"
    run_mirror = "mirror:run"
    begin_optimization = "optimization:begin"
    begin_package = "package:begin"
    change_password = "password:change"  # noqa: S105  # the name of an action
    reset_password = "password:reset"  # noqa: S105  # the name of an action
    hide_rating = "rating:hide"
    remove_rating = "rating:remove"
    show_rating = "rating:show"
    write_rating = "rating:write"
    end_sessions = "session:end"
    refuse_sign_in = "session:refused"
    sign_in = "session:sign-in"
    create_token = "token:create"  # noqa: S105  # the name of an action
    revoke_token = "token:revoke"  # noqa: S105  # the name of an action
    remove_member = "vendor-member:remove"
    set_member = "vendor-member:set"
    allow_proof = "vendor:allow-proof"
    change_vendor = "vendor:change"
    create_vendor = "vendor:create"
    prove_vendor = "vendor:prove"
    unprove_vendor = "vendor:unprove"
    vouch_vendor = "vendor:vouch"
    approve_version = "version:approve"
    begin_version = "version:begin"
    change_version = "version:change"
    check_version = "version:check"
    discard_version = "version:discard"
    recheck_version = "version:recheck"
    reject_version = "version:reject"


class Actor(Protocol):
    """Whoever acts: the viewer of a request. An account's row or nobody (the shop itself) will do too."""

    @property
    def account_id(self) -> UUID | None:
        """The account, if there is one."""

    @property
    def name(self) -> str:
        """Its name as it is now."""

    @property
    def address(self) -> str:
        """Where the request came from."""


def record(
    db: Session,
    who: Actor | Account | None,
    action: AuditAction,
    subject: str,
    *,
    address: str = "",
    **facts: Any,
) -> None:
    """Note a deed in the caller's transaction; the address is the viewer's unless one is given.

    Raises ValueError for a fact whose name says that it is a secret.
    """
    if found := SECRETS & facts.keys():
        raise ValueError(f"no secrets in the audit log: {', '.join(sorted(found))}")
    event = AuditEvent(
        action=str(action),
        subject=subject[:LONGEST],
        facts={key: _short(value) for key, value in facts.items()},
        address=address,
    )
    if isinstance(who, Account):
        event.account_id, event.account = who.id, who.name
    elif who is not None:
        event.account_id, event.account = who.account_id, who.name
        event.address = address or who.address
    db.add(event)


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value


def events(
    db: Session,
    *,
    account: str = "",
    action: str = "",
    subject: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[AuditEvent], int]:
    """What was done, newest first, and how many there are in all; empty filters take everything.

    `action` may be a whole action or its subject ("token"); `subject` matches a part.
    """
    conditions: list[Any] = []
    if account:
        conditions.append(col(AuditEvent.account) == account)
    if action:
        whole = ":" in action
        column = col(AuditEvent.action)
        conditions.append(column == action if whole else column.startswith(f"{action}:", autoescape=True))
    if subject:
        conditions.append(col(AuditEvent.subject).contains(subject, autoescape=True))
    if since is not None:
        conditions.append(col(AuditEvent.at) >= since)
    if until is not None:
        conditions.append(col(AuditEvent.at) < until)
    total = db.exec(select(func.count()).select_from(AuditEvent).where(*conditions)).one()
    newest = select(AuditEvent).where(*conditions).order_by(col(AuditEvent.id).desc())
    return list(db.exec(newest.limit(limit).offset(offset))), total
