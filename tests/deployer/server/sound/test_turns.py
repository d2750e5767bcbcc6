"""The rule frame by frame tells what the rule for whole recordings finds, as early as can be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.pipelines.voice_activity_detection import segments
from deployer.server.sound.turns import FRAME, Event, Rule, Turns

likelihoods = st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.5, 0.7, 1.0]), max_size=90)
rules = st.builds(
    Rule, st.sampled_from([0.05, 0.5, 0.9]), st.integers(0, 5000), st.integers(0, 4000), st.integers(0, 6000)
)


def told(likely: list[float], rule: Rule, length: int) -> list[tuple[Event, int]]:
    """Each event with the frame after which it was told."""
    turns, events = Turns(), []
    for index, value in enumerate(likely):
        end = min((index + 1) * FRAME, length)
        events += [(event, index) for event in turns.hear(value, index * FRAME, end, rule)]
        assert turns.speaking == (len(events) % 2 == 1)
    events += [(event, len(likely)) for event in turns.finish(length, rule)]
    assert not turns.speaking
    return events


@given(likelihoods, rules, st.integers(0, FRAME - 1))
def test_the_same_segments_as_of_the_whole(likely: list[float], rule: Rule, short: int) -> None:
    length = max(len(likely) * FRAME - short, 0) if likely else 0
    events = [event for event, _ in told(likely, rule, length)]
    assert [event.type for event in events] == ["start", "end"] * (len(events) // 2)
    found = segments(
        np.array(likely),
        length,
        threshold=rule.threshold,
        least_speech=rule.least_speech,
        least_silence=rule.least_silence,
        pad=rule.pad,
    )
    assert [event.place for event in events] == [edge for span in found for edge in span]


def test_events_come_as_soon_as_they_are_certain() -> None:
    rule = Rule(0.5, 3 * FRAME, 2 * FRAME, FRAME // 2)
    likely = [0.0] * 2 + [1.0] * 6 + [0.0] * 6
    assert told(likely, rule, len(likely) * FRAME) == [
        (Event("start", 2 * FRAME - FRAME // 2), 5),  # the fourth frame makes it longer than three
        (Event("end", 8 * FRAME + FRAME // 2), 10),  # the third silent one ends the pause of two
    ]
    wide = rule._replace(pad=2 * FRAME)  # an end waits until nothing can begin so near that it would move
    assert [at for _, at in told(likely, wide, len(likely) * FRAME)] == [5, 11]
    at_once = Rule(0.5, 0, 0, 0)
    assert [at for _, at in told(likely, at_once, len(likely) * FRAME)] == [2, 8]
