"""Charts of 30 days as SVG figures: the geometry of bars, without a style of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, log10
from typing import Final

from pipedrive_pipeline.sync.status.days import DayFigures

WIDTH: Final = 300  # units of the drawing; its height is 100
HEIGHT: Final = 100
STEPS: Final = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)  # of a top value, times ten to n


@dataclass(frozen=True)
class ChartBar:
    """One day: a bar, or a cross if its runs failed."""

    day: date
    value: float
    x: float
    y: float
    width: float
    height: float
    is_failed: bool


@dataclass(frozen=True)
class Chart:
    """One figure per day, oldest first."""

    name: str  # of the figure, and of its texts
    bars: tuple[ChartBar, ...]
    top: float  # the value at the upper edge

    @property
    def last(self) -> float:
        """The figure of today."""
        return self.bars[-1].value

    @property
    def middle(self) -> date:
        """The day in the middle of the axis."""
        return self.bars[len(self.bars) // 2].day

    @property
    def highest(self) -> float:
        """The highest figure."""
        return max(bar.value for bar in self.bars)

    @property
    def days_failed(self) -> int:
        """How many days have a cross."""
        return sum(bar.is_failed for bar in self.bars)


def charts_of(days: Sequence[DayFigures]) -> list[Chart]:
    """A chart of each figure; none if fewer than two days have runs."""
    if sum(day.runs > 0 for day in days) < 2:
        return []
    return [
        _chart("rows", days, [day.rows for day in days]),
        _chart("seconds", days, [day.seconds for day in days]),
        _chart("tokens", days, [day.tokens for day in days]),
    ]


def _chart(name: str, days: Sequence[DayFigures], values: Sequence[float]) -> Chart:
    top, step = _top(max(values)), WIDTH / len(days)
    bars = tuple(
        ChartBar(
            day=day.day,
            value=value,
            x=round(number * step + 1, 1),
            y=round(HEIGHT - HEIGHT * value / top, 1),
            width=round(step - 2, 1),
            height=round(HEIGHT * value / top, 1),
            is_failed=day.failed > 0 and day.failed == day.runs,
        )
        for number, (day, value) in enumerate(zip(days, values, strict=True))
    )
    return Chart(name, bars, top)


def _top(highest: float) -> float:
    """A round number that is at least as high."""
    if highest <= 1:
        return 1
    size = 10.0 ** (ceil(log10(highest)) - 1)
    return next(step * size for step in STEPS if step * size >= highest * 0.9999)
