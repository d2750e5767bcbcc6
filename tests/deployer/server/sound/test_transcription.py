"""The rules of writing: times in pairs that go forward, nothing that is not allowed, an end to circles."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel

from deployer.server.errors import BadModel
from deployer.server.sound.transcription import TICK, Segment, Vocabulary, Writing, circling, density, joined

WORDS = 20
NAMES = "endoftext startoftranscript en zh yue translate transcribe startoflm startofprev nocaptions"
SPECIAL = [f"<|{name}|>" for name in (*NAMES.split(), "notimestamps")]
END, FIRST, SIZE = WORDS, WORDS + len(SPECIAL), WORDS + len(SPECIAL) + 101


def tokenizer(special: list[str] = SPECIAL) -> Tokenizer:
    """Words w0 … w19, which are written with a space before them, and Whisper's special tokens."""
    words = {f" w{n}": n for n in range(WORDS)}
    made = Tokenizer(WordLevel({**words, **{name: WORDS + n for n, name in enumerate(special)}}, " w0"))
    made.decoder = decoders.Fuse()
    made.add_special_tokens(special)
    return made


def vocabulary(**settings: Any) -> Vocabulary:
    return Vocabulary(tokenizer(), SIZE, settings)


KNOWN = vocabulary()


def time(seconds: float) -> int:
    return FIRST + round(seconds / TICK)


def logits(*best: int, size: int = SIZE) -> np.ndarray:
    """Tokens in the order of their likelihood; all others are unlikely."""
    made = np.full(size, -20, np.float32)
    for rank, token in enumerate(best):
        made[token] = 20 - rank
    return made


def written(*rows: tuple[int, ...], timed: bool = True, seconds: float = 2.0, limit: int = 50) -> Writing:
    writing = Writing(KNOWN, timed=timed, seconds=seconds, limit=limit)
    for row in rows:
        writing.add(logits(*row))
    return writing


def test_special_tokens_are_found_by_name() -> None:
    assert KNOWN.languages == {"en": WORDS + 2, "zh": WORDS + 3, "yue": WORDS + 4}
    assert (KNOWN.end, KNOWN.first_time, KNOWN.nothing) == (END, FIRST, WORDS + 9)
    assert KNOWN.text([3, END, FIRST + 4, 4]) == " w3 w4"
    assert KNOWN.language(logits(7, WORDS + 3, WORDS + 2)) == "zh"


@pytest.mark.parametrize(
    ("names", "size", "settings", "why"),
    [
        (["<|endoftext|>"], SIZE, {}, "startoftranscript"),
        ([n for n in SPECIAL if len(n) > 7], SIZE, {}, "languages"),
        (SPECIAL, FIRST, {}, "times"),
        (SPECIAL, SIZE, {"suppress_ids": "all"}, "suppress_ids"),
        (SPECIAL, SIZE, {"begin_suppress_tokens": ["a"]}, "suppress_ids_begin"),
    ],
)
def test_what_is_not_whispers_is_refused(
    names: list[str], size: int, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadModel, match=why):
        Vocabulary(tokenizer(names), size, settings)


@pytest.mark.parametrize(
    "names", [("suppress_ids", "suppress_ids_begin"), ("suppress_tokens", "begin_suppress_tokens")]
)
def test_what_is_never_written_is_not(names: tuple[str, str]) -> None:
    known = vocabulary(**{names[0]: [5, 99_999, -1, END], names[1]: [6, END]})
    writing = Writing(known, timed=False, seconds=2, limit=50)
    assert writing.add(logits(5, 6, END, KNOWN.start, 7)) == 7
    assert writing.add(logits(5, KNOWN.transcribe, FIRST + 3, 6)) == 6
    assert writing.add(logits(END)) == END
    assert writing.done and writing.text == " w7 w6"


def test_a_transcript_begins_with_a_time_within_a_second() -> None:
    assert written((3, END, time(0.4))).tokens == [time(0.4)]
    assert written((3, time(1.02), time(1.0))).tokens == [time(1)]


def test_times_come_in_pairs_and_go_forward() -> None:
    begun = written((time(0.2),))
    assert begun.add(logits(time(0.4), 3)) == 3
    assert begun.add(logits(time(0.2), time(0.1), time(0.8))) == time(0.8)
    assert begun.add(logits(4, time(0.6), time(0.8))) == time(0.8)
    assert begun.add(logits(4)) == 4
    assert begun.add(logits(time(0.8), time(1.2))) == time(1.2)
    assert begun.add(logits(4, END)) == END
    assert begun.segments(10, 12) == [Segment(10.2, 10.8, "w3"), Segment(10.8, 11.2, "w4")]
    assert begun.reached(1) == pytest.approx(1.2)
    assert begun.reached(1.5) is None


def test_no_time_lies_behind_the_windows_end() -> None:
    writing = written((time(0),), (3,), seconds=0.5)
    assert writing.add(logits(time(1.9), time(0.5), time(0.4))) == time(0.5)
    assert writing.add(logits(time(0.5), 3, END)) == END  # nothing can be said where the window ends


def test_all_times_together_outweigh_a_word() -> None:
    close = np.full(SIZE, -20, np.float32)
    close[3] = 2.0
    close[FIRST + 60 : FIRST + 90] = 1.0
    writing = written((time(0),), (4,))
    assert writing.add(close) == FIRST + 60


def test_what_is_open_at_the_end_lasts_to_the_windows_end() -> None:
    writing = written((time(0.4),), (3,), (4,), (END,))
    assert writing.segments(1, 3) == [Segment(1.4, 3, "w3 w4")]
    assert writing.reached(0.1) is None
    assert written((3,), (END,), timed=False).segments(1, 3) == [Segment(1, 3, "w3")]


def test_where_the_room_ends_the_rest_is_heard_again() -> None:
    rows = (time(0.0),), (3,), (time(1.2),), (time(1.3),), (4,)
    writing = written(*rows, limit=5)
    assert writing.full and writing.done
    assert writing.reached(1) == pytest.approx(1.3)
    assert writing.text == " w3" and writing.segments(0, 2) == [Segment(0, 1.2, "w3")]
    short = written(*rows, limit=5)
    assert short.reached(1.5) is None  # not far enough to go on from
    assert short.text == " w3 w4"


def test_circles_are_ended_and_their_first_round_kept() -> None:
    writing = Writing(KNOWN, timed=True, seconds=2, limit=200)
    writing.add(logits(time(0)))
    now = 0.0
    while not writing.done:
        for word in (3, 4, 5, 6, 7, 8):
            writing.add(logits(word))
        if not writing.done:
            now += 0.4
            writing.add(logits(time(now)))
            writing.add(logits(time(now)))
    assert writing.circles and not writing.full
    assert writing.text == " w3 w4 w5 w6 w7 w8"
    assert writing.reached(0.2) == pytest.approx(0.4)


@given(st.lists(st.integers(0, 3), max_size=120))
def test_circles_are_circles(words: list[int]) -> None:
    surplus = circling(words)
    assert 0 <= surplus < len(words) or not words
    if surplus:
        period = next(p for p in range(1, 61) if words[-p:] * 3 == words[-3 * p :] and surplus % p == 0)
        rest = words[-surplus - period :]
        assert rest == (rest[:period] * (len(rest) // period + 1))[: len(rest)] and len(rest) >= 24


def test_what_is_said_thrice_is_no_circle_yet() -> None:
    assert circling([1, 1, 1]) == circling([1, 2, 3] * 4) == circling(list(range(100))) == 0
    assert circling([9, *[1] * 24]) == 23
    assert circling([9, *[1, 2, 3] * 8]) == 21
    assert circling(list(range(50)) * 3) == 100


@given(st.data())
def test_any_logits_make_a_transcript_by_the_rules(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    timed, seconds = data.draw(st.booleans()), data.draw(st.floats(0.02, 3))
    writing = Writing(KNOWN, timed=timed, seconds=seconds, limit=data.draw(st.integers(0, 60)))
    while not writing.done:
        writing.add(rng.normal(0, 6, SIZE).astype(np.float32))
    times = [token for token in writing.tokens if token >= FIRST]
    assert len(writing.tokens) <= writing.limit
    assert timed or not times
    assert times == sorted(times) and all(token <= writing.last_time for token in times)
    assert all(token < WORDS or token >= FIRST for token in writing.tokens)
    assert writing.score <= 0
    pieces = writing.segments(5, 5 + seconds)
    assert all(5 <= one.start <= one.end <= round(5 + seconds, 2) + 0.01 for one in pieces)
    assert " ".join(piece.text for piece in pieces) == writing.text.strip()
    reached = writing.reached(0.5)
    assert reached is None or 0.5 - TICK <= reached <= seconds + TICK


def test_repetition_is_dense() -> None:
    assert density("") == 0
    assert density("We would like to thank everyone who worked on this project.") < 1.2
    assert density("Thank you. " * 30) > 2.4


def test_texts_are_joined_as_the_language_has_it() -> None:
    assert joined([" Good morning.", "", " Thank you."], "en") == "Good morning. Thank you."
    assert joined(["今天天气很好。", "我们去公园", "散步"], "zh") == "今天天气很好。我们去公园 散步"
    assert joined([], "zh") == ""
