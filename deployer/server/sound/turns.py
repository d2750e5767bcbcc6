"""Where speech begins and ends, told frame by frame as early as it is certain.

The rule is that of whole recordings (`pipelines.voice_activity_detection.segments`): a frame at or above the
threshold opens a segment, a pause long enough below the lower one closes it, short segments are dropped, and
what is left is widened, neighbours sharing the pause between them. So a beginning is told once the segment is
longer than the shortest, and an end once no segment can begin so near that it would be moved.
"""

from dataclasses import dataclass
from typing import NamedTuple

RATE, FRAME = 16_000, 512
HYSTERESIS = 0.15


class Rule(NamedTuple):
    """What makes a segment; lengths in samples."""

    threshold: float
    least_speech: int
    least_silence: int
    pad: int

    @property
    def lower(self) -> float:
        """The likelihood below which a pause begins."""
        return max(self.threshold - HYSTERESIS, 0.01)


class Event(NamedTuple):
    """A `start` or an `end` of speech, in samples from the beginning."""

    type: str
    place: int


@dataclass
class Turns:
    """Where the rule stands; -1 is nowhere."""

    start: int = -1
    """Where the open segment began."""
    silent: int = -1
    """Where its pause began."""
    ended: int = -1
    """Where the last segment ended, if that is not told yet."""
    told: bool = False
    """Whether the open segment's beginning is told."""

    @property
    def speaking(self) -> bool:
        """Whether a beginning was told and its end was not."""
        return self.told or self.ended >= 0

    def hear(self, likely: float, place: int, end: int, rule: Rule) -> list[Event]:
        """One frame from sample `place` to `end`; what is certain now."""
        events: list[Event] = []
        if likely >= rule.threshold:
            self.start, self.silent = (place if self.start < 0 else self.start), -1
        elif self.start >= 0 and likely < rule.lower:  # between the two everything stays as it is
            self.silent = place if self.silent < 0 else self.silent
            if place - self.silent >= rule.least_silence:
                if self.silent - self.start > rule.least_speech:
                    events += self._begin(rule)
                    self.ended = self.silent
                self.start, self.silent, self.told = -1, -1, False
        if self.start >= 0 and self.silent < 0 and end - self.start > rule.least_speech:
            events += self._begin(rule)
        following = self.start if self.start >= 0 else end
        if self.ended >= 0 and following - self.ended >= 2 * rule.pad:
            events.append(Event("end", self.ended + rule.pad))
            self.ended = -1
        return events

    def finish(self, length: int, rule: Rule) -> list[Event]:
        """What the end of the sound makes certain."""
        events: list[Event] = []
        if self.start >= 0 and length - self.start > rule.least_speech:
            events = self._begin(rule)
            self.ended = length
        if self.ended >= 0:
            events.append(Event("end", min(length, self.ended + rule.pad)))
        self.start, self.silent, self.ended, self.told = -1, -1, -1, False
        return events

    def _begin(self, rule: Rule) -> list[Event]:
        """Tell the open segment's beginning, and before it the end that it shares the pause with."""
        if self.told:
            return []
        self.told = True
        if self.ended < 0:
            return [Event("start", max(0, self.start - rule.pad))]
        room = min(rule.pad, (self.start - self.ended) // 2)
        events = [Event("end", self.ended + room), Event("start", self.start - room)]
        self.ended = -1
        return events
