"""Hits, false alarms and misses, and the shares that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """Cell-frames, or pixels, by what a method and the truth say."""

    hits: int
    false: int
    missed: int
    clear: int

    @property
    def precision(self) -> float:
        return _ratio(self.hits, self.hits + self.false)

    @property
    def recall(self) -> float:
        return _ratio(self.hits, self.hits + self.missed)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.hits, 2 * self.hits + self.false + self.missed)

    @property
    def iou(self) -> float:
        """Intersection over union of what is flagged and what is true."""
        return _ratio(self.hits, self.hits + self.false + self.missed)

    @property
    def false_rate(self) -> float:
        """Share of cell-frames without true aurora that are flagged."""
        return _ratio(self.false, self.false + self.clear)


def confusion(
    flagged: NDArray[np.bool_], positive: NDArray[np.bool_], scored: NDArray[np.bool_]
) -> Confusion:
    """Count the scored cell-frames by what a method and the truth say."""
    hits = int((flagged & positive & scored).sum())
    false = int((flagged & ~positive & scored).sum())
    missed = int((~flagged & positive & scored).sum())
    return Confusion(hits, false, missed, int(scored.sum()) - hits - false - missed)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
