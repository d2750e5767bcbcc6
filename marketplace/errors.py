"""Named refusals of the marketplace.

MarketError
├── InvalidLoginLink
├── SignInNeeded
├── NotAllowed
├── ForeignRequest
└── InvalidRequest

The words for people, in both languages, are in marketplace.problems.
"""

from typing import ClassVar


class MarketError(Exception):
    """Root of all refusals of the marketplace; `facts` are the values for the message."""

    code: ClassVar[str] = "market-error"

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(", ".join(f"{k}={v}" for k, v in facts.items()))


class InvalidLoginLink(MarketError):
    """The sign-in link is unknown, used or too old."""

    code = "invalid-login-link"


class SignInNeeded(MarketError):
    """The request needs an account and has none."""

    code = "sign-in-needed"


class NotAllowed(MarketError):
    """The account may not do this. Facts: role (the one that is needed)."""

    code = "not-allowed"


class ForeignRequest(MarketError):
    """A browser sent a change from another site."""

    code = "foreign-request"


class InvalidRequest(MarketError):
    """The request does not have the expected form. Facts: why."""

    code = "invalid-request"
