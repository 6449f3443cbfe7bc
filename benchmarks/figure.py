"""One line of the table: a figure that a question answers, its unit, and what distpool must reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`key` names the figure in a question's answer, `label` in the table, `panel` is its title in the chart, if any.

    At most one goal: `ratio_goal` limits distpool / standard, `value_goal` distpool's own figure, and `extra_goal` what
    distpool's figure may have beyond the standard library's. All are upper limits, lower ones with `more_is_better`.
    """

    key: str
    label: str
    unit: str
    digits: int = 0
    ratio_goal: float | None = None
    value_goal: float | None = None
    extra_goal: float | None = None
    more_is_better: bool = False
    panel: str | None = None

    def goal(self) -> str:
        """The goal as the table prints it."""
        sign = "≥" if self.more_is_better else "≤"
        if self.ratio_goal is not None:
            return f"{sign} {self.ratio_goal:g} ×"
        if self.value_goal is not None:
            return f"{sign} {self.value_goal:,g}"
        return f"{sign} +{self.extra_goal:g}" if self.extra_goal is not None else ""

    def is_reached(self, ratio: float | None, value: float, standard: float | None) -> bool | None:
        """None without a goal, or without the figure that the goal is compared with."""
        if self.ratio_goal is not None:
            limit, reached, digits = self.ratio_goal, ratio, 2
        elif self.value_goal is not None:
            limit, reached, digits = self.value_goal, value, self.digits
        elif self.extra_goal is not None:
            limit, reached, digits = self.extra_goal, None if standard is None else value - standard, self.digits
        else:
            return None
        if reached is None:
            return None
        # What is shown is what counts: 0.0 % is a goal that no measurement meets to the last digit.
        reached = round(reached, digits)
        return reached >= limit if self.more_is_better else reached <= limit

    def shown(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"
