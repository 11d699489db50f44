"""A training's log as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .trainer import LOG


def draw_curve(folder: Path) -> Path:
    """Draw loss and validation figures (Dice, or a classifier's AUC) over the steps of the log in ``folder``, to
    curve.png there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [entry for entry in _entries(folder / LOG) if entry["event"] == "validation"]
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.plot(steps, [row["loss"] for row in rows], color="0.6", label="training loss")
    left.set(xlabel="step", ylabel="loss")
    right = left.twinx()
    measure = "AUC" if rows and "auc" in rows[0] else "Dice"
    for label in rows[0]["labels"] if rows and measure == "Dice" else ():
        right.plot(steps, [row["labels"][label] for row in rows], linewidth=1, label=f"val Dice, label {label}")
    right.plot(steps, [row[measure.lower()] for row in rows], color="black", label=f"val {measure}, mean")
    right.set(ylabel=measure, ylim=(0, 1))
    right.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    path = folder / "curve.png"
    figure.savefig(path, dpi=110)
    return path


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a line that a killed training left unfinished
            yield json.loads(line)
