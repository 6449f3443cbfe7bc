"""From the answers of all rounds to one value, one ratio and its spread for each library."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from libraries import STANDARD


@dataclass(frozen=True)
class Result:
    """`ratio` is the median of the ratios to the standard library within a round; `spread` the smallest and largest."""

    value: float
    ratio: float | None
    spread: tuple[float, float] | None


def summarize(answers, question, library, key):
    """None when no round has the figure."""
    ours, standard = (figures_by_round(answers, question, name, key) for name in (library, STANDARD))
    if not ours:
        return None
    ratios = [value / standard[number] for number, value in ours.items() if standard.get(number)]
    return Result(
        value=median(ours.values()),
        ratio=median(ratios) if ratios else None,
        spread=(min(ratios), max(ratios)) if ratios else None,
    )


def figures_by_round(answers, question, library, key):
    return {
        answer.round: answer.figures[key]
        for answer in answers
        if (answer.question, answer.library) == (question, library) and answer.figures and key in answer.figures
    }


def reason_for_nothing(answers, question, library):
    """(is it a failure, why) for the last answer without figures; None when all have some."""
    for answer in reversed(answers):
        if (answer.question, answer.library) == (question, library) and answer.figures is None:
            return (True, answer.error) if answer.error else (False, answer.not_offered)
    return None


def short(ratio):
    """120 ×, 3.4 ×, 0.21 ×, 1/23,000 ×."""
    if ratio < 0.095:
        return f"1/{float(f'{1 / ratio:.2g}'):,.0f} ×" if ratio else "0 ×"
    if ratio >= 9.95:
        return f"{ratio:,.0f} ×"
    return f"{ratio:.1f} ×" if ratio >= 0.995 else f"{ratio:.2f} ×"
