"""What studies found, as one JSON file and one page with curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from ml.studies import selection
from ml.studies.lab import Found, Study

COLOURS = {"adaptive": "#0b6e4f", "random": "#8a8f98"}
MARKS = {"adaptive": "o-", "random": "s--"}  # Readable without colour too


def write(studies: Mapping[str, Study], parts: Mapping[str, Mapping[str, Found]], place: Path) -> None:
    """Write the page, and beside it the JSON file and the curves.

    Args:
        parts: what was found, by study and part; a study that is not among them is left out.
        place: of the page; the others have its name with other endings.
    """
    rows = {name: studies[name].conclude(found) for name, found in parts.items()}
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".json").write_text(json.dumps({"rows": rows, "parts": parts}, indent=1, sort_keys=True) + "\n")
    lines = [
        "# What learning gives",
        "",
        "Measured by `make learning` on public data, which is not part of this repository. Every figure is of cases",
        "that no model learnt from. An aim that was missed is marked.",
    ]
    for name, found in rows.items():
        lines += ["", f"## {studies[name].title}", "", *_table(found)]
        if name == "selection":
            lines += ["", f"![Accuracy by number of labels]({_draw(parts[name], place).name})"]
    place.write_text("\n".join(lines) + "\n")


def _table(rows: Sequence[Found]) -> list[str]:
    lines = ["| | found | aim | beside |", "|---|---|---|---|"]
    for row in rows:
        bar = row.get("bar")
        aim = "" if bar is None else f"{bar:.3f}{'' if row['found'] >= bar else ' missed'}"
        beside = ", ".join(f"{name} {value:.3f}" for name, value in row.get("beside", {}).items())
        lines.append(f"| {row['figure']} | {row['found']:.3f} | {aim} | {beside} |")
    return lines


def _draw(found: Mapping[str, Found], place: Path) -> Path:
    """Draw the mean accuracy of each order of asking by the number of labels, with one standard error about it."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, pool in zip(figure.subplots(1, len(selection.POOLS)), selection.POOLS, strict=True):
        for strategy in COLOURS:
            curves = [found[selection.name(pool, strategy, seed)]["curve"] for seed in range(selection.SEEDS)]
            _line(axes, strategy, curves)
        axes.set(title=f"{pool} pool", xlabel="labels", ylabel="accuracy")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    path = place.with_suffix(".svg")
    figure.savefig(path, metadata={"Date": None})
    return path


def _line(axes: Any, strategy: str, curves: Sequence[Sequence[Found]]) -> None:
    labelled = [point["labelled"] for point in curves[0]]
    values = [[curve[at]["accuracy"] for curve in curves] for at in range(len(labelled))]
    errors = [selection.standard_error(one) for one in values]
    style = MARKS[strategy]
    axes.errorbar(labelled, list(map(mean, values)), errors, fmt=style, color=COLOURS[strategy], label=strategy)
