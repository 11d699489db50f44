"""A training's report: what its model makes of the validation cases, in the time that this may take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..card import Card
from ..evaluation import evaluate_segmenter
from ..io.dataset import Dataset
from ..model import load_model
from ..report import Observed, Training, write_report

REPORT = "report.html"
SHARE, LEAST = 0.05, 10.0  # of the training's time, and seconds that measuring for the report may take at least


def report_training(
    output: Path, card: Card, dataset: Dataset, run: Path, told: Sequence[str], device: torch.device
) -> str:
    """Write ``report.html`` into ``run``, the folder of the training that wrote ``output``.

    Args:
        dataset: as it was trained on.
        told: lines about its plan.

    Returns:
        what was measured, in words.

    Raises:
        LLMBoostError: a validation case or the model cannot be read, or the report not be written.
    """
    started = time.monotonic()
    model, observed = load_model(output, device), Observed(dataset.labels, dataset.ignore)
    limit = max(LEAST, SHARE * 60 * card.training["minutes"])
    result = evaluate_segmenter(model, dataset, "val", seen=observed.see, limit=limit)
    write_report(run / REPORT, card, result, observed, Training(run / "curve.png", told))
    cases = f"{result['n_cases']} of {len(dataset.split('val'))} validation cases"
    return f"report on {cases} in {run / REPORT} ({time.monotonic() - started:.0f} s)"
