"""Passwords: the rule for new ones, and argon2id hashes.

Hashing takes a tenth of a second and 64 MiB on purpose, so it is done outside of any transaction, and at
most two at a time.
"""

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from marketplace.people_errors import InvalidPassword

LEAST, MOST = 10, 128  # characters
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 << 10, parallelism=1)  # the second choice of RFC 9106
# Of no account: compared with where a name has no password, so that its answer takes as long.
NOBODYS = "$argon2id$v=19$m=65536,t=3,p=1$kkvSBygkSbvczDZ7FPAfpA$+BjXQPQG1KzqV4EpVC5s5TwhHriywzdp7D91hiPvEUk"
_SLOTS = threading.BoundedSemaphore(2)


def require_good(password: str, name: str) -> None:
    """Refuse a password that is too short or too long, or hardly more than the account's name.

    No rule about kinds of characters: such rules make passwords worse. Raises InvalidPassword.
    """
    text = _normal(password)
    rest = text.casefold().replace(_normal(name).casefold(), "")
    if not LEAST <= len(text) <= MOST or len(rest) < 4:
        raise InvalidPassword(least=LEAST, most=MOST)


def hash_password(password: str) -> str:
    """The hash to keep, with its parameters and salt."""
    with _SLOTS:
        return _HASHER.hash(_normal(password))


def verify_password(stored: str, password: str) -> bool:
    """Whether a password belongs to a hash; without a hash it takes the same time and is wrong."""
    with _SLOTS:
        try:
            _HASHER.verify(stored or NOBODYS, _normal(password)[: MOST + 1])
        except (VerificationError, InvalidHashError):
            return False
    return bool(stored)


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def _normal(text: str) -> str:
    """The same for every keyboard: é may be typed as one character or as two."""
    return unicodedata.normalize("NFC", text)
