"""How fast a run gets on: items per minute, remaining time, failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Pace", "duration_text"]


@dataclass
class Pace:
    """Count the items of a run.

    >>> clock = iter([0.0, 30.0]).__next__
    >>> pace = Pace(total=5, clock=clock)
    >>> pace.finish(failed=False)
    >>> pace.per_minute, pace.remaining
    (2.0, 120.0)
    >>> print(pace)
    1 of 5, 2.0 a minute, 2 min left
    """

    total: int = 0
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    failed: int = 0
    begun: float = field(init=False)
    elapsed: float = 0.0  # s until the last item was finished

    def __post_init__(self) -> None:
        self.begun = self.clock()

    def finish(self, failed: bool) -> None:
        """Count an item."""
        self.done += 1
        self.failed += failed
        self.elapsed = self.clock() - self.begun

    @property
    def per_minute(self) -> float:
        """Items per minute so far; 0 before the first."""
        return 60 * self.done / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds that the rest will take at this rate; None before the first item."""
        if not self.done or self.elapsed <= 0:
            return None
        return self.elapsed / self.done * max(0, self.total - self.done)

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.total}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.remaining is not None:
            parts.append(f"{self.per_minute:.1f} a minute")
            if self.done < self.total:
                parts.append(f"{duration_text(self.remaining)} left")
        return ", ".join(parts)


def duration_text(seconds: float) -> str:
    """Say a duration in its largest units.

    >>> duration_text(42), duration_text(130), duration_text(3 * 3600 + 61)
    ('42 s', '2 min', '3 h 1 min')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
