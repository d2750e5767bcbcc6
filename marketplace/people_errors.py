"""Named refusals about accounts, sign-in and tokens.

MarketError
├── AccountDisabled
├── AccountExists
├── InvalidAccountName
├── InvalidPassword
├── InvalidToken
├── KeyRefused
├── LastOperator
├── ScopeTooWide
├── SessionNeeded
├── TokenTooNarrow
├── TooManyAttempts
├── UnknownAccount
├── UnknownRole
├── UnknownScope
├── UnknownSession
├── UnknownToken
├── WrongPassword
└── WrongSignIn

The words for people are in marketplace.people_words.
"""

from marketplace.errors import MarketError


class AccountDisabled(MarketError):
    """The account is disabled, and nothing can be made for it. Facts: name."""

    code = "account-disabled"


class AccountExists(MarketError):
    """An account of this name is there, perhaps in other letters. Facts: name."""

    code = "account-exists"


class InvalidAccountName(MarketError):
    """Not a name that an account may have. Facts: name."""

    code = "invalid-account-name"


class InvalidPassword(MarketError):
    """The new password breaks the rule. Facts: least and most (characters)."""

    code = "invalid-password"


class InvalidToken(MarketError):
    """A token cannot be made like this. Facts: why (and why_zh)."""

    code = "invalid-token"


class KeyRefused(MarketError):
    """The request brings a key that is unknown, expired or revoked, or whose account is disabled."""

    code = "key-refused"


class LastOperator(MarketError):
    """Without this account nobody could run the shop. Facts: name."""

    code = "last-operator"


class ScopeTooWide(MarketError):
    """A token was asked for with more than its maker may do. Facts: scopes."""

    code = "scope-too-wide"


class SessionNeeded(MarketError):
    """What opens an account is changed by a person in a browser, not by a token."""

    code = "session-needed"


class TokenTooNarrow(MarketError):
    """The account may do this, the token may not. Facts: permission, role."""

    code = "token-too-narrow"


class TooManyAttempts(MarketError):
    """Too many wrong passwords in a row. Facts: seconds (until the next try)."""

    code = "too-many-attempts"


class UnknownAccount(MarketError):
    """No account of this name. Facts: name."""

    code = "unknown-account"


class UnknownRole(MarketError):
    """Not a role. Facts: role, known."""

    code = "unknown-role"


class UnknownScope(MarketError):
    """Neither a permission nor a preset. Facts: scope, known."""

    code = "unknown-scope"


class UnknownSession(MarketError):
    """The account has no such signed-in browser."""

    code = "unknown-session"


class UnknownToken(MarketError):
    """The account has no such token that still opens something. Facts: id."""

    code = "unknown-token"


class WrongPassword(MarketError):
    """The present password, asked for before a change, is not right."""

    code = "wrong-password"


class WrongSignIn(MarketError):
    """Name or password is not right; which of them is not said."""

    code = "wrong-sign-in"
