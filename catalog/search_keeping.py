"""What was found a moment ago, kept while the index stays in the state that it was found in."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from sqlmodel import Session

from catalog import search_index

KEEPS = 2048

_kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_lock = threading.Lock()

T = TypeVar("T")


def kept(db: Session, key: tuple[Any, ...], make: Callable[[], T]) -> T:
    """The value made for this key in this state of the index, or made now."""
    state = _state(db)
    if not state:
        return make()
    whole = (state, *key)
    with _lock:
        if whole in _kept:
            _kept.move_to_end(whole)
            found: T = _kept[whole]
            return found
    made = make()
    with _lock:
        _kept[whole] = made
        while len(_kept) > KEEPS:
            _kept.popitem(last=False)
    return made


def _state(db: Session) -> str:
    """The state of the index, read once in a transaction; `search_index` says when this one changed it."""
    current = db.get_nested_transaction() or db.get_transaction()
    transaction, state = db.info.get(search_index.SEEN, (None, ""))
    if current is None or transaction is not current:
        state = search_index.revision(db)
        current = db.get_nested_transaction() or db.get_transaction()
        db.info[search_index.SEEN] = (current, state)
    return str(state)


def forget() -> None:
    """Keep nothing, as in a shop that has just been started."""
    with _lock:
        _kept.clear()
