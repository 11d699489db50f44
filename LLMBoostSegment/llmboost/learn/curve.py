"""A training's log as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from .trainer import LOG


def draw_curve(folder: Path) -> Path:
    """Draw loss and validation Dice over the steps of the log in ``folder`` to curve.png there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    rows = [entry for entry in entries if entry["event"] == "validation"]
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.plot(steps, [row["loss"] for row in rows], color="0.6", label="training loss")
    left.set(xlabel="step", ylabel="loss")
    right = left.twinx()
    for label in rows[0]["labels"] if rows else ():
        right.plot(steps, [row["labels"][label] for row in rows], linewidth=1, label=f"val Dice, label {label}")
    right.plot(steps, [row["dice"] for row in rows], color="black", label="val Dice, mean")
    right.set(ylabel="Dice", ylim=(0, 1))
    right.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    path = folder / "curve.png"
    figure.savefig(path, dpi=110)
    return path
