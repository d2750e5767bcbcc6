"""Sign-in by password, tokens and sessions; accounts and the audit log for operators."""

from typing import Any

handlers: list[Any] = []
