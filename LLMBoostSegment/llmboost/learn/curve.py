"""A training's log as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..card.figures import drawn
from ..files import atomic_path, printable
from ..jsonfile import parse_json
from .trainer import LOG

LARGEST = 1e12  # no axis takes more


def draw_curve(folder: Path, names: Mapping[int, str] | None = None) -> Path:
    """Draw loss and validation figures (Dice, or a classifier's AUC) over the steps of the log in ``folder``, to
    curve.png there. A segmenter's labels are called by their ``names``; of many, the worst ones have curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(_validations(folder / LOG))
    steps = [_number(row.get("step")) for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.plot(steps, [_number(row.get("loss")) for row in rows], color="0.6", label="training loss")
    left.set(xlabel="step", ylabel="loss")
    right = left.twinx()
    measure = "AUC" if any("auc" in row for row in rows) else "Dice"
    scores = [row["labels"] if isinstance(row.get("labels"), dict) else {} for row in rows]
    known = {str(value): name for value, name in (names or {}).items()}
    for label in drawn(_last(scores)) if measure == "Dice" else ():
        values = [_number(row.get(label)) for row in scores]
        right.plot(steps, values, linewidth=1, label=printable(known.get(label, f"label {label}")).replace("$", r"\$"))
    values = [_number(row.get(measure.lower())) for row in rows]
    right.plot(steps, values, color="black", label=f"val {measure}" + ", mean" * (measure == "Dice"))
    right.set(ylabel=measure, ylim=(0, 1))
    right.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    path = folder / "curve.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def _validations(log: Path) -> Iterator[dict[str, Any]]:
    """The entries about validations; a line that a killed training left unfinished is none."""
    with suppress(OSError):
        for line in log.read_bytes().splitlines():
            with suppress(ValueError):
                entry = parse_json(line)
                if isinstance(entry, dict) and entry.get("event") == "validation":
                    yield entry


def _last(scores: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The latest figure of each label that the log names."""
    found: dict[str, float | None] = {}
    for row in scores:
        for label, value in row.items():
            number = _number(value)
            found[label] = found.get(label) if math.isnan(number) else number
    return found


def _number(value: Any) -> float:
    """NaN, which is not drawn, for what is none."""
    return float(value) if type(value) in (int, float) and abs(value) < LARGEST else math.nan
