"""Where, in what a user names, the files of a trained nnU-Net lie.

nnU-Net writes plans.json, dataset.json and fold_X/checkpoint_final.pth into ``DatasetXXX_NAME/TRAINER__PLANS__CONFIG``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import LLMBoostError
from ..translation import ALL

CHECKPOINT = "checkpoint_final.pth"
_DEPTH = 6  # folders below the one that is named


@dataclass(frozen=True)
class Results:
    """One configuration's folder.

    Attributes:
        folder: with plans.json and dataset.json.
        checkpoints: by fold: "0", "1", ..., or "all", of a network that was trained on all cases.
    """

    folder: Path
    checkpoints: dict[str, Path]


def wanted(member: PurePosixPath) -> bool:
    """Which files of an archive are needed."""
    return member.name in ("plans.json", "dataset.json", CHECKPOINT)


def find_results(folder: Path) -> list[Results]:
    """The configurations' folders at, above or below ``folder``.

    Raises:
        LLMBoostError: one lacks its description or its weights.
    """
    for one in (folder, folder.parent):
        if (one / "plans.json").is_file():
            return [_results(one)]
    return [_results(one) for one in _described(folder)]


def results_at_hand() -> list[Results]:
    """What lies where nnU-Net and TotalSegmentator keep their models on this machine; what is not whole is left out."""
    found = {}
    for place in _usual_places():
        for folder in _described(place) if place.is_dir() else ():
            with suppress(LLMBoostError):
                found[folder.resolve()] = _results(folder)
    return list(found.values())


def _usual_places() -> Iterator[Path]:
    named = [os.environ.get(name) for name in ("nnUNet_results", "TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR")]
    yield from (Path(text) for text in named if text)
    yield Path.home() / ".totalsegmentator" / "nnunet" / "results"


def _described(folder: Path) -> Iterator[Path]:
    """The folders below with a description and folds, in the order of their names."""
    for place, folders, files in os.walk(folder):
        path = Path(place)
        if "plans.json" in files and any(name.startswith("fold_") for name in folders):
            yield path
            folders.clear()
        folders[:] = sorted(folders) if len(path.relative_to(folder).parts) < _DEPTH else []


def _results(folder: Path) -> Results:
    if not (folder / "dataset.json").is_file():
        raise LLMBoostError(f"{folder}: dataset.json is missing; copy the folder again, as nnU-Net wrote it")
    checkpoints = {
        fold: path
        for path in sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
        if (fold := path.parent.name.removeprefix("fold_")).isdecimal() or fold == ALL
    }
    if not checkpoints:
        raise LLMBoostError(f"{folder}: no fold_X/{CHECKPOINT}; a training that has not ended, or a folder without it")
    return Results(folder, checkpoints)
