"""The charts of the docs: one panel per question, one bar per library, as a PNG of 2,000 pixels' width."""

from __future__ import annotations

import matplotlib as mpl
from libraries import LIBRARIES, OURS, STANDARD
from summary import short, summarize

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = 3
WIDTH_INCHES = 10
NAMES_INCHES, NUMBERS_INCHES = 0.62, 1.22
BAR_INCHES, TITLE_INCHES, FOOTER_INCHES = 0.18, 0.5, 0.3
"""All in inches: a panel is a column's width, with the names on the left and the numbers on the right of its bars."""

DOTS_PER_INCH = 200
OUR_COLOR, STANDARD_COLOR, PEER_COLOR = "#0b6bcb", "#8a8f98", "#cfd3d9"
TEXT_COLOR, FAINT_COLOR = "#1f2328", "#656d76"
LOG_FROM = 8
"""A panel has a logarithmic scale when its largest value is so many times its smallest."""


def draw(figures, answers, footer, path):
    """Draw the figures that have a panel's title. Peers that do not offer the call are left out of a panel."""
    panels = [(question, figure) for question in figures for figure in figures[question] if figure.panel]
    panels = [(figure, bars_of(answers, question, figure)) for question, figure in panels]
    panels = [(figure, bars) for figure, bars in panels if len(bars) > 1]
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    height = FOOTER_INCHES + sum(map(row_inches, rows))
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 7.5, "text.color": TEXT_COLOR}):
        picture = plt.figure(figsize=(WIDTH_INCHES, height))
        top = height
        for row in rows:
            for column, (figure, bars) in enumerate(row):
                draw_panel(picture.add_axes(place(column, top, len(bars), height)), figure, bars)
            top -= row_inches(row)
        picture.text(0.008, 0.07 / height, footer, fontsize=6.5, color=FAINT_COLOR)
        picture.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")
        plt.close(picture)


def row_inches(row):
    return TITLE_INCHES + BAR_INCHES * max(len(bars) for _, bars in row)


def place(column, top, bars, height):
    """Left, bottom, width and height of a panel's bars, as parts of the picture. All bars are equally thick."""
    width = WIDTH_INCHES / COLUMNS
    left = column * width + NAMES_INCHES
    bottom = top - TITLE_INCHES + 0.1 - BAR_INCHES * bars
    return (
        left / WIDTH_INCHES,
        bottom / height,
        (width - NAMES_INCHES - NUMBERS_INCHES) / WIDTH_INCHES,
        BAR_INCHES * bars / height,
    )


def bars_of(answers, question, figure):
    """Library to its result, distpool first."""
    order = [OURS, STANDARD, *(name for name in LIBRARIES if name not in (OURS, STANDARD))]
    results = {name: summarize(answers, question, name, figure.key) for name in order}
    return {name: result for name, result in results.items() if result}


def draw_panel(axes, figure, bars):
    names, values = list(bars), [result.value for result in bars.values()]
    colors = [{OURS: OUR_COLOR, STANDARD: STANDARD_COLOR}.get(name, PEER_COLOR) for name in names]
    is_log = min(values) > 0 and max(values) / min(values) >= LOG_FROM
    if is_log:
        # A bar on a logarithmic scale begins somewhere: half a decade below the smallest value.
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values))
    else:
        axes.set_xlim(0, max(values) or 1)
    axes.barh(names, values, height=0.72, color=colors)
    for row, (name, result) in enumerate(bars.items()):
        weight = "bold" if name == OURS else "normal"
        text = axes.annotate(
            label_of(figure, name, result),
            # From the right edge: the bars end where the labels' column begins.
            xy=(1.03, row),
            xycoords=("axes fraction", "data"),
            va="center",
            weight=weight,
        )
        text.set_color(OUR_COLOR if name == OURS else TEXT_COLOR)
        axes.get_yticklabels()[row].set_weight(weight)
    axes.set_ylim(len(names) - 0.5, -0.5)
    direction = "more is better" if figure.more_is_better else "less is better"
    axes.set_title(figure.panel, loc="left", fontsize=8.5, weight="bold", pad=12, x=0)
    scale = ", log scale" if is_log else ""
    axes.annotate(
        f"{direction}{scale}",
        xy=(0, 1),
        xytext=(0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=6.5,
        color=FAINT_COLOR,
    )
    axes.minorticks_off()
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, pad=3)
    for side, line in axes.spines.items():
        line.set_visible(side == "left")
        line.set_color("#b0b5bc")


def label_of(figure, name, result):
    value = with_unit(figure, result.value)
    if name == STANDARD or result.ratio is None or figure.unit == "%":
        return value
    return f"{value}   {short(result.ratio)}"


def with_unit(figure, value):
    """Three or four digits: 1.2 ms for 1,200 µs, 7.5 M/s for 7,500,000 items/s."""
    unit, digits = figure.unit, figure.digits
    larger = {"µs": "ms", "ms": "s"}.get(unit)
    if larger and value >= 1000:
        value, unit, digits = value / 1000, larger, 1
    elif unit.endswith("/s") and unit != "GB/s":
        value, unit, digits = per_second(value)
    elif value >= 100:
        digits = 0
    return f"{value:,.{digits}f} {unit}"


def per_second(rate):
    if rate >= 1e6:
        return rate / 1e6, "M/s", 1
    if rate >= 1e3:
        return rate / 1e3, "k/s", 1 if rate < 1e4 else 0
    return rate, "/s", 0
