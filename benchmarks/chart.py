"""The chart for the README: one panel per question, one bar per library, as a PNG of 2,000 pixels' width."""

from __future__ import annotations

import matplotlib as mpl
from libraries import LIBRARIES, OURS, STANDARD
from summary import short, summarize

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = 3
PANEL_INCHES = (10 / COLUMNS, 1.62)
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
    rows = -(-len(panels) // COLUMNS)
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 7.5, "text.color": TEXT_COLOR}):
        size = (PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * rows + 0.5)
        picture, grid = plt.subplots(rows, COLUMNS, figsize=size, squeeze=False)
        for axes, (figure, bars) in zip(grid.flat, panels, strict=False):
            draw_panel(axes, figure, bars)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        picture.text(0.008, 0.008, footer, fontsize=6.5, color=FAINT_COLOR)
        picture.tight_layout(rect=(0, 0.2 / size[1], 1, 1), h_pad=1.1, w_pad=1.4)
        picture.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")
        plt.close(picture)


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
    axes.invert_yaxis()
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)
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
    value = f"{with_prefix(result.value)}" if result.value >= 10_000 else figure.shown(result.value)
    value = f"{value} {figure.unit}".strip()
    if name == STANDARD or result.ratio is None or figure.unit == "%":
        return value
    return f"{value}   {short(result.ratio)}"


def with_prefix(value):
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"
