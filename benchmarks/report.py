"""The tables that the runner prints: distpool beside the standard library with the goals, then the peers."""

from __future__ import annotations

from libraries import OURS, PEERS, STANDARD
from summary import reason_for_nothing, short, summarize

NOTHING = "–"


def print_report(figures, answers, not_installed):
    """`figures`: those of each question. Returns whether all goals are reached."""
    missed = print_goals(figures, answers)
    peers = [name for name in PEERS if any(answer.library == name for answer in answers)]
    if peers:
        print_peers(figures, answers, peers)
    for name in not_installed:
        print(f"{name}: not installed")
    return not missed


def print_goals(figures, answers):
    """Returns how many goals are missed; a question that failed counts as one."""
    print(f"\n{'':40} {'standard':>11} {'distpool':>11} {'unit':>8} {'ratio':>6} {'(min–max)':>14} {'goal':>8}")
    missed, reached, failures = 0, 0, []
    for question in figures:
        failures += [
            f"{question}, {library}: {reason[1]}"
            for library in (STANDARD, OURS)
            if (reason := reason_for_nothing(answers, question, library))
        ]
        for figure in figures[question]:
            standard, ours = (summarize(answers, question, name, figure.key) for name in (STANDARD, OURS))
            if ours is None:
                continue
            verdict = figure.is_reached(ours.ratio, ours.value, standard.value if standard else None)
            missed += verdict is False
            reached += verdict is True
            print(goal_line(figure, standard, ours, {None: "", True: "reached", False: "MISSED"}[verdict]))
    print(f"{reached} goals reached, {missed} missed")
    for failure in failures:
        print(f"FAILED: {failure}")
    return missed + len(failures)


def goal_line(figure, standard, ours, verdict):
    values = [figure.shown(result.value) if result else NOTHING for result in (standard, ours)]
    ratio = f"{ours.ratio:.2f}" if ours.ratio is not None else ""
    spread = f"({ours.spread[0]:.2f}–{ours.spread[1]:.2f})" if ours.spread else ""
    return (
        f"{figure.label:40} {values[0]:>11} {values[1]:>11} {figure.unit:>8} {ratio:>6} {spread:>14} "
        f"{figure.goal():>8} {verdict}"
    ).rstrip()


def print_peers(figures, answers, peers):
    """Each peer's figure, and in brackets its ratio to the standard library where that has the figure."""
    notes = []
    columns = [STANDARD, OURS, *peers]
    print(f"\n{'peers (ratio to the standard library)':40} {'':8}" + "".join(f"{name:>21}" for name in columns))
    for question in figures:
        for figure in figures[question]:
            cells = [peer_cell(answers, question, name, figure, notes) for name in columns]
            print(f"{figure.label:40} {figure.unit:8}" + "".join(f"{cell:>21}" for cell in cells).rstrip())
    for number, note in enumerate(notes, 1):
        print(f"[{number}] {note}")


def peer_cell(answers, question, name, figure, notes):
    result = summarize(answers, question, name, figure.key)
    if result is None:
        reason = reason_for_nothing(answers, question, name)
        if not reason or not reason[0]:
            return NOTHING
        note = f"{question}, {name}: {reason[1]}"
        if note not in notes:
            notes.append(note)
        return f"failed [{notes.index(note) + 1}]"
    value = figure.shown(result.value)
    return value if name == STANDARD or result.ratio is None else f"{value} ({short(result.ratio)})"
