"""What the benchmark says: a line for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import of_pairs


@dataclass(frozen=True)
class Row:
    """A measure of ours `against` another's (0: against nothing, then the figure itself has the aim).

    `ratio` is what the aim is about: at least it, or with `most` at most.
    """

    measure: str
    ours: float
    against: float
    ratio: float
    aim: float
    most: bool = False

    @classmethod
    def of(cls, measure: str, ours: Sequence[float], against: Sequence[float], aim: float, most: bool = False) -> Row:
        """The median of the ratios of runs that followed each other; the figures are medians too."""
        return cls(measure, median(ours), median(against), of_pairs(ours, against), aim, most)

    @classmethod
    def figure(cls, measure: str, ours: float, aim: float) -> Row:
        """A figure that is to be at most the aim."""
        return cls(measure, ours, 0.0, ours, aim, True)

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        return self.ratio <= self.aim if self.most else self.ratio >= self.aim
