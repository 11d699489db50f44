"""How much of a training's budget is spent, and when there is time to validate."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

BUDGET = ("steps", "minutes")
FORWARD = 3  # learning from a sample takes as long as so many forward passes
MOST = 0.2  # of the time goes into validating
UNSURE = 2  # times as long as expected a first validation may take
RECENT = 9  # steps that tell how long one takes


class Budget:
    """Steps or minutes, of which validating takes a fifth at most, but for the last validation, which there always is.

    By steps, clocks have no say: how often is validated follows from how many samples a validation and a step compute.
    By minutes, it follows from how long that takes, and the last validation is in the minutes.

    Args:
        marks: checkpoints, evenly spread; there are as many validations at most.
        batch: samples of a step.
        samples: of a validation; 0 if there is none.
        first: whether one is before the first step, too.
    """

    def __init__(
        self, steps: int | None, minutes: float | None, *, marks: int, batch: int, samples: int, first: bool
    ) -> None:
        self.steps, self.minutes = steps, minutes
        self.marks = marks
        self.seconds = 0.0  # of training, over all sittings
        self.validating = 0.0  # of them, for validations
        self.last = (0.0, 0.0)  # when the last validation ended, and how long it took
        self._effort = samples / (batch * FORWARD)  # of a validation, in steps
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._spent = 0.0
        self.validations = marks  # at most
        if steps is not None and samples:
            affordable = int(MOST / (1 - MOST) * steps / self._effort)
            self.validations = max(1, min(marks, affordable - first))

    def stepped(self, seconds: float) -> None:
        """A step ended, so many seconds of training after the start."""
        self._recent.append(seconds - self.seconds)
        self.seconds = seconds

    def validated(self, seconds: float) -> None:
        """A validation ended that began at the last time that was told."""
        self.last = seconds, seconds - self.seconds
        self.validating += seconds - self.seconds
        self.seconds = seconds

    def fraction(self, step: int) -> float:
        """The share that is spent when ``step`` steps are done; of the minutes that are not the last validation's."""
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        total = 60 * self.minutes
        # what a validation will take is known better and better, but what is spent is spent
        self._spent = max(self._spent, self.seconds / max(total - self.estimate, total / 2))
        return self._spent

    def passed(self, step: int) -> tuple[int, int]:
        """How many checkpoints and how many validations should lie behind."""
        counts = self.marks, self.validations
        if self.steps is not None:
            first, second = (min(step, self.steps) * count // self.steps for count in counts)
        else:
            first, second = (int(min(self.fraction(step), 1.0) * count) for count in counts)
        return first, second

    @property
    def estimate(self) -> float:
        """Seconds that a validation takes: as long as the last one, or as a step's time lets expect."""
        if self.last[1]:
            return self.last[1]
        return self._effort * statistics.median(self._recent) if self._recent else 0.0

    def has_time(self) -> bool:
        """Whether one validation more and the last one fit into a fifth of the minutes, and one into a fifth of the
        time since the one before."""
        if self.minutes is None:
            return True
        since = self.seconds - self.last[0]
        most = MOST * 60 * self.minutes
        needed = self.estimate if self.last[1] else UNSURE * self.estimate
        return self.validating + 2 * needed <= most and needed <= since * MOST / (1 - MOST)

    def used(self, step: int, validations: int) -> str:
        """What was planned and what was used, in words."""
        spent = f"{step} of {self.steps} steps"
        if self.minutes is not None:
            spent = f"{self.seconds / 60:.1f} of {self.minutes:.3g} minutes, {step} steps"
        share = self.validating / self.seconds if self.seconds else 0.0
        return f"trained {spent}; {validations} validation(s) took {share:.0%} of the time"


def no_less(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a budget is of the same kind as before, and as large."""
    pairs = [(then.get(key), now.get(key)) for key in BUDGET]
    return all(one == other or (one is not None and other is not None and other > one) for one, other in pairs)
