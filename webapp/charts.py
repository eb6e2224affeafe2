"""Drawing figures as SVG, in the colours of the desk. Series differ by line, marker or hatch, not only by colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from webapp.queries.figures import Figure

mpl.rcParams["svg.hashsalt"] = "caseloop"  # The same figure gives the same file
LINES = ("-", "--", ":", "-.")
MARKERS = "os^DvPX*"
HATCHES = ("", "////", "....", "xxxx")
WIDE, NARROW, HIGH = 6.4, 3.6, 2.8  # Inches
PANEL_HIGH, BAR_HIGH, LEGEND_HIGH = 1.3, 0.3, 0.18
PIXELS = 100  # That a page gives to an inch
SMALL = 9  # Points
_drawing = Lock()  # The fonts of matplotlib are no matter for two threads at once


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of the desk that a chart needs; see desk.css."""

    surface: str
    line: str
    ink: str
    quiet: str
    series: tuple[str, ...]  # All at least 3:1 against the surface, from dark to light


LIGHT = Palette("#ffffff", "#e4e1db", "#1f2328", "#5b626b", ("#0b6e69", "#8a5a00", "#1f2328", "#6b52a3", "#b3261e"))
DARK = Palette("#1d2125", "#31373d", "#e8e6e1", "#a3abb3", ("#5cc4bb", "#f2c14e", "#e8e6e1", "#b8a4e8", "#ff8a80"))


def size(figure: Figure, *, is_narrow: bool = False) -> tuple[int, int]:
    """Return how wide and how high a chart is, in pixels; the narrow one is for phones."""
    series = len(figure.columns) - 1
    needed = {
        "people": BAR_HIGH * len(figure.rows) + 1,
        "accuracy": HIGH + LEGEND_HIGH * series * is_narrow,
        "confidence": PANEL_HIGH * -(-series // 2),
    }
    return round(PIXELS * (NARROW if is_narrow else WIDE)), round(PIXELS * max(HIGH, needed.get(figure.name, HIGH)))


def svg(figure: Figure, *, is_dark: bool = False, is_narrow: bool = False) -> bytes:
    """Draw a figure as an SVG file."""
    palette = DARK if is_dark else LIGHT
    wide, high = (pixels / PIXELS for pixels in size(figure, is_narrow=is_narrow))
    with _drawing:
        drawing = Drawing(figsize=(wide, high), layout="constrained", facecolor=palette.surface)
        DRAW[figure.name](drawing, figure, palette)
        file = BytesIO()
        drawing.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _queue(drawing: Drawing, figure: Figure, palette: Palette) -> None:
    axes = _axes(drawing.subplots(), palette)
    days = range(len(figure.rows))
    for at, name in enumerate(figure.columns[1:]):
        axes.plot(days, [row[at + 1] for row in figure.rows], label=name, markersize=4, **_line(at, palette))
    axes.set_xticks(days[::5], [row[0].strftime("%-d %b") for row in figure.rows[::5]])
    axes.set_ylim(bottom=0)
    _legend(drawing, axes, palette)


def _people(drawing: Drawing, figure: Figure, palette: Palette) -> None:
    axes = _axes(drawing.subplots(), palette, counts="x")
    names = [str(row[0])[:24] for row in figure.rows]
    places = range(len(names))
    before = [0] * len(names)
    for at, name in enumerate(figure.columns[1:]):
        counts = [row[at + 1] for row in figure.rows]
        bars = axes.barh(places, counts, left=before, height=0.6, label=name, **_bar(at, palette))
        for bar, count in zip(bars, counts, strict=True):
            bar.set_linewidth(int(count > 0))  # Or its edge would be seen
        before = [one + more for one, more in zip(before, counts, strict=True)]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    _legend(drawing, axes, palette)


def _accuracy(drawing: Drawing, figure: Figure, palette: Palette) -> None:
    axes = _axes(drawing.subplots(), palette, counts="x")
    for at, name in enumerate(figure.columns[1:]):
        known = [(row[0], row[at + 1]) for row in figure.rows if row[at + 1] is not None]
        axes.plot(*zip(*known, strict=True), label=name, markersize=5, **_line(at, palette))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(figure.columns[0], color=palette.quiet, fontsize=SMALL)
    _legend(drawing, axes, palette, columns=2 if drawing.get_figwidth() > NARROW else 1)


def _confidence(drawing: Drawing, figure: Figure, palette: Palette) -> None:
    heads = figure.columns[1:]
    panels = list(drawing.subplots(-(-len(heads) // 2), 2, squeeze=False).flat)
    edges = [at / len(figure.rows) for at in range(len(figure.rows))]
    for at, (axes, head) in enumerate(zip(panels, heads, strict=False)):
        _axes(axes, palette)
        counts = [row[at + 1] for row in figure.rows]
        axes.bar(edges, counts, width=0.9 / len(edges), align="edge", **_bar(0, palette))
        axes.set_title(head, color=palette.ink, fontsize=SMALL, loc="left")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    for axes in panels[len(heads) :]:
        axes.set_axis_off()


DRAW: Mapping[str, Callable[[Drawing, Figure, Palette], None]] = {
    "queue": _queue,
    "people": _people,
    "accuracy": _accuracy,
    "confidence": _confidence,
}


def _axes(axes: Axes, palette: Palette, *, counts: str = "y") -> Axes:
    """Dress axes in the colours of the desk; on one of them are counts, which have no fractions."""
    axes.set_facecolor(palette.surface)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.quiet)
    axes.tick_params(colors=palette.quiet, labelsize=SMALL)
    axes.grid(axis="both" if counts == "y" else "x", color=palette.line, linewidth=0.6)
    axes.set_axisbelow(True)
    (axes.yaxis if counts == "y" else axes.xaxis).set_major_locator(MaxNLocator(5, integer=True))
    return axes


def _legend(drawing: Drawing, axes: Axes, palette: Palette, *, columns: int = 4) -> None:
    drawing.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=palette.ink,
    )


def _line(at: int, palette: Palette) -> dict[str, Any]:
    return {
        "color": palette.series[at % len(palette.series)],
        "linestyle": LINES[at % len(LINES)],
        "marker": MARKERS[at % len(MARKERS)],
    }


def _bar(at: int, palette: Palette) -> dict[str, Any]:
    colour = palette.series[at % len(palette.series)]
    is_full = not HATCHES[at % len(HATCHES)]
    return {
        "facecolor": colour if is_full else palette.surface,
        "edgecolor": colour,
        "hatch": HATCHES[at % len(HATCHES)],
        "linewidth": 1.0,
    }
