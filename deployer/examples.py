"""Hold a model's answer against the expectation of a listing's example.

An expectation is JSON that says as much as must be true and no more:

- an object: each of its keys is in the answer and matches; further keys do not matter
- a list: as many items as the answer's list, matching one by one
- `{"$near": 0.93, "$abs": 0.02}`: a number no further away than that (1e-6 when not said)
- `{"$contains": "text"}`: a string with this part, or a list with an equal item
- `{"$min": x}`, `{"$max": x}`: a number within these bounds
- `{"$len": n}`: a string, list or object of this length; n may itself be an expectation
- `{"$start": [a, b]}`: a list that begins with items matching these
- `{"$any": [a, b]}`: for a list, each of a and b is matched by some item; for anything else, a or b matches
- anything else: equal, where true is not 1

Matchers may be combined in one object. Mismatches are told in signs, so that they need no translation:
`results[0].score: 0.31 < 0.8`. `label: ∅, {"results": …}` is a key that is not there, and what is there; of
numbers that are nearly equal the matcher that would hold is told: `0.97 ≠ 0.9701 → {"$near": …}`.
"""

import json
import math
from collections.abc import Callable

Mismatches = list[str]
_SHOWN = 120  # characters of a value
CLOSE = 0.01
"""Share of a number within which another is taken for the same, rounded."""
LARGEST = 1e300


def check(answer: object, expect: object, path: str = "") -> Mismatches:
    """Every place where the answer is not as expected, none when it is right; never raises on JSON values."""
    if isinstance(expect, dict):
        if any(isinstance(key, str) and key.startswith("$") for key in expect):
            return _matchers(answer, expect, path)
        return _object(answer, expect, path)
    if isinstance(expect, list):
        return _list(answer, expect, path)
    if _equal(answer, expect):
        return []
    return [_say(path, f"{_show(answer)} ≠ {_show(expect)}{_hint(answer, expect)}")]


def _hint(answer: object, expect: object) -> str:
    """The matcher by which a number that is nearly right would be right, "" for all else."""
    here, there = _number(answer), _number(expect)
    if here is None or there is None or max(abs(here), abs(there)) > LARGEST:
        return ""
    away = abs(here - there)
    if not 0 < away <= CLOSE * max(abs(here), abs(there)):
        return ""
    power = math.ceil(math.log10(away))
    room = next(room for room in (float(f"1e{power}"), float(f"1e{power + 1}")) if away <= room)
    return f" → {_show({'$near': expect, '$abs': room})}"


def _object(answer: object, expect: dict[str, object], path: str) -> Mismatches:
    if not isinstance(answer, dict):
        return [_say(path, f"{_show(answer)} ≠ {_show(expect)}")]
    found: Mismatches = []
    if missing := [f"{path}.{key}" if path else str(key) for key in expect if key not in answer]:
        found.append(_say(_cut(", ".join(missing)), f"∅, {_show(answer)}"))
    for key, wanted in expect.items():
        if key in answer:
            found += check(answer[key], wanted, f"{path}.{key}" if path else str(key))
    return found


def _list(answer: object, expect: list[object], path: str) -> Mismatches:
    if not isinstance(answer, list | tuple):
        return [_say(path, f"{_show(answer)} ≠ {_show(expect)}")]
    if len(answer) != len(expect):
        return [_say(path, f"|{len(answer)}| ≠ |{len(expect)}|")]
    pairs = zip(answer, expect, strict=True)
    return [text for n, (item, wanted) in enumerate(pairs) for text in check(item, wanted, f"{path}[{n}]")]


def _matchers(answer: object, expect: dict[str, object], path: str) -> Mismatches:
    found: Mismatches = []
    for name, wanted in expect.items():
        if name == "$abs" and "$near" in expect:
            continue
        if name == "$near":
            found += _near(answer, wanted, expect.get("$abs", 1e-6), path)
        elif name in _MATCHERS:
            found += _MATCHERS[name](answer, wanted, path)
        else:
            found.append(_say(path, f"? {_show(name)}"))
    return found


def _near(answer: object, wanted: object, slack: object, path: str) -> Mismatches:
    here, there, room = _number(answer), _number(wanted), _number(slack)
    if here is not None and there is not None and room is not None and abs(here - there) <= room:
        return []
    return [_say(path, f"{_show(answer)} ≉ {_show(wanted)} ± {_show(slack)}")]


def _min(answer: object, wanted: object, path: str) -> Mismatches:
    here, bound = _number(answer), _number(wanted)
    if here is not None and bound is not None and here >= bound:
        return []
    return [_say(path, f"{_show(answer)} < {_show(wanted)}")]


def _max(answer: object, wanted: object, path: str) -> Mismatches:
    here, bound = _number(answer), _number(wanted)
    if here is not None and bound is not None and here <= bound:
        return []
    return [_say(path, f"{_show(answer)} > {_show(wanted)}")]


def _contains(answer: object, wanted: object, path: str) -> Mismatches:
    if isinstance(answer, str):
        right = isinstance(wanted, str) and wanted in answer
    else:
        right = isinstance(answer, list | tuple) and any(_equal(item, wanted) for item in answer)
    return [] if right else [_say(path, f"{_show(answer)} ∌ {_show(wanted)}")]


def _length(answer: object, wanted: object, path: str) -> Mismatches:
    if not isinstance(answer, str | list | tuple | dict):
        return [_say(path, f"|{_show(answer)}| ≠ {_show(wanted)}")]
    return check(len(answer), wanted, f"|{path}|")


def _start(answer: object, wanted: object, path: str) -> Mismatches:
    if not isinstance(wanted, list):
        return [_say(path, f"? $start {_show(wanted)}")]
    return check(answer[: len(wanted)] if isinstance(answer, list | tuple) else answer, wanted, path)


def _any(answer: object, wanted: object, path: str) -> Mismatches:
    if not isinstance(wanted, list) or not wanted:
        return [_say(path, f"? $any {_show(wanted)}")]
    if isinstance(answer, list | tuple):
        unmet = [one for one in wanted if all(check(item, one) for item in answer)]
        return [_say(path, f"{_show(answer)} ∌ {_show(one)}") for one in unmet]
    if any(not check(answer, one) for one in wanted):
        return []
    return [_say(path, f"{_show(answer)} ∉ {_show(wanted)}")]


_MATCHERS: dict[str, Callable[[object, object, str], Mismatches]] = {
    "$min": _min,
    "$max": _max,
    "$contains": _contains,
    "$len": _length,
    "$start": _start,
    "$any": _any,
}


def _number(value: object) -> float | int | None:
    """The value as a number to compare with; true, false, NaN and integers beyond all floats are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return None if math.isnan(value) else value
    except OverflowError:
        return None


def _equal(one: object, other: object) -> bool:
    """Equality as JSON has it: true is not 1, and 1 is 1.0; the same inside lists and objects."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return one == other


def _say(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _show(value: object) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=repr))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
