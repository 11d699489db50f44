"""What cross-validation of segmenters and of classifiers shares: cases in parts, each of which is held out once, and
nobody is in two of them; the trainings, one after the other, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ..card import Card, read_card
from ..errors import Cancelled, LLMBoostError
from ..files import locked, write_whole
from ..io.dataset import Dataset
from ..io.imageset import ImageSet
from ..jsonfile import read_json
from ..model import Model
from .checkpoint import differences
from .classification.train import ClassificationRecipe
from .provenance import made_with
from .train import Recipe, check_free, run_folder
from .trainer import CHECKPOINT

SPLIT = "folds.json"
RESULT = "out_of_fold.json"
OUT_OF_FOLD = "out of fold"  # in place of a split's name

D = TypeVar("D", Dataset, ImageSet)
R = TypeVar("R", Recipe, ClassificationRecipe)
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Fold(Generic[D]):
    """One of the trainings: its number from 0, its model file, and the data set with its cases in "train" and "val"."""

    number: int
    path: Path
    dataset: D

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (run_folder(self.path) / CHECKPOINT).exists()


def folds_folder(output: Path) -> Path:
    """Where cross-validation that writes ``output`` keeps each fold's model and run folder, and what they show."""
    return output.with_suffix(".folds")


def folds(
    ids: Sequence[str],
    count: int,
    subjects: Mapping[str, str] | None = None,
    seed: int = 0,
    kinds: Mapping[str, Any] | None = None,
) -> list[list[str]]:
    """``ids`` of cases in ``count`` parts about as large as each other, the same for the same seed in any order.

    Args:
        subjects: whom cases show, by their ids; cases of one subject stay together. Others show one of their own.
        kinds: such as classes, by their ids: each part has about as many cases of each.

    Raises:
        LLMBoostError: fewer subjects than parts, or fewer than two parts.
    """
    if count < 2:
        raise LLMBoostError(f"{count} fold(s): cross-validation takes two or more")
    groups: dict[str, list[str]] = {}
    for id in sorted(ids):
        groups.setdefault((subjects or {}).get(id, id), []).append(id)
    if len(groups) < count:
        raise LLMBoostError(f"{count} folds need as many subjects, there are {len(groups)}; take fewer folds")
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = [list(groups.values())[place] for place in order]
    parts: list[list[str]] = [[] for _ in range(count)]
    # the largest first, then what fills up evenly, one kind after the other
    for group in sorted(shuffled, key=lambda group: (-len(group), kinds[group[0]] if kinds else 0)):
        min(parts, key=len).extend(group)
    return [sorted(part) for part in parts]


def divided(recipe: R, parts: Sequence[Sequence[str]]) -> tuple[R, str]:
    """The recipe of each training, and in words how many there are.

    Each one's last weights are kept, for those of the best validation would be chosen by the very cases that are to
    judge them; a budget in minutes is for all together. No training writes a report.
    """
    minutes, count = recipe.config.minutes, len(parts)
    config = replace(recipe.config, last=True, minutes=None if minutes is None else minutes / count)
    budget = f"{config.steps} steps each" if minutes is None else f"{config.minutes:.3g} of {minutes:g} minutes each"
    told = f"{count} folds of {min(map(len, parts))} to {max(map(len, parts))} cases, {budget}; measuring comes on top"
    return replace(recipe, config=config, report=False), told


def check_fresh(output: Path, resume: bool) -> None:
    """Raises LLMBoostError if an earlier model or cross-validation would be overwritten."""
    check_free(output, resume)
    folder = folds_folder(output)
    if (folder / SPLIT).exists() and not resume:
        raise LLMBoostError(
            f"{folder}: holds an earlier cross-validation; continue it with --resume, or choose another --output"
        )


def folds_in(folder: Path, parts: Sequence[Sequence[str]], held_out: Callable[[Sequence[str]], D]) -> list[Fold[D]]:
    """The trainings, of which each is measured on one part of the cases; their files lie in ``folder``.

    Args:
        held_out: the data set with a part of its cases in "val", and the others in "train".
    """
    return [Fold(number, folder / f"fold_{number}.safetensors", held_out(part)) for number, part in enumerate(parts)]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the folder of a cross-validation, which is this process's alone meanwhile; raises LLMBoostError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{folder}: cannot be made ({error.strerror}); choose another output") from error
    with locked(folder, wait=False):
        yield


def train_folds(
    every: Sequence[Fold[Any]],
    train: Callable[..., Any],
    report: Report = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Train the networks that are not there yet, and go on with one that was stopped.

    Args:
        train: as :func:`.train.train`, with all that all have in common.
        report: is called with each training's events, with a "fold" such as "2 of 5", and the fraction that of all.

    Raises:
        LLMBoostError: as ``train``.
        Cancelled: when asked to.
    """
    for fold in every:
        name = f"fold {fold.number} ({fold.number + 1} of {len(every)})"
        if fold.path.exists():
            labels = {"labels": fold.dataset.labels} if isinstance(fold.dataset, Dataset) else {}
            report({"event": "plan", "reasons": (f"{name}: trained before",), **labels})
            continue
        tell = _of_fold(report, name, fold.number, len(every))
        train(fold.dataset, fold.path, resume=fold.started, report=tell, cancelled=cancelled)
        if cancelled():
            fold.path.unlink()  # of a training that did not come to its end
            raise Cancelled


def training_of(models: Sequence[Model], data: Dataset | ImageSet, cases: int) -> dict[str, Any]:
    """What the card of all networks together tells of their training on so many cases."""
    trainings = [model.card.training for model in models]
    members = [
        {"name": model.card.name, "digest": model.card.digest, "val_cases": model.card.training["val_cases"]}
        for model in models
    ]
    return {
        "data": data.name,
        "data_license": data.license,
        "train_cases": cases,
        "folds": len(models),
        "members": members,
        "steps": sum(training["steps"] for training in trainings),
        "minutes": round(sum(training["minutes"] for training in trainings), 1),
        "config": trainings[0]["config"],
        **made_with(),
    }


def write_result(path: Path, card: Card, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Write what was measured out of fold, and of which model that tells; returns both. Raises LLMBoostError."""
    result = {"model": card.name, "digest": card.digest, **measured}
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    return result


def keep_split(
    path: Path,
    parts: Sequence[Sequence[str]],
    digests: Mapping[str, str],
    recipe: Recipe | ClassificationRecipe,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write down what is trained on what; raises LLMBoostError if something else was when it began.

    Args:
        digests: of the cases, by id.
        more: settings that the task alone has.
    """
    now = {
        "folds": {f"fold {number}": list(part) for number, part in enumerate(parts)},
        "known cases": {id: digests[id] for part in parts for id in part},
        "settings": asdict(recipe.config),
        "network": {"name": recipe.network, "options": recipe.options},
        "booster": None if recipe.booster is None else asdict(recipe.booster),
        "start": read_card(recipe.start).digest if recipe.start else None,
        **(more or {}),
    }
    if not path.exists():
        write_whole(path, (json.dumps(now, indent=1) + "\n").encode())
    elif differing := differences(read_json(path), now):
        raise LLMBoostError(
            f"{path}: another cross-validation ({differing}); continue it as it was started, or choose another --output"
        )


def _of_fold(report: Report, name: str, number: int, count: int) -> Report:
    """``report`` for one of the trainings: the plan was told already, and it is a part of the whole."""

    def tell(event: dict[str, Any]) -> None:
        changed: dict[str, Any] = {"reasons": (name,)} if event["event"] == "plan" else {}
        if "fraction" in event:
            changed["fraction"] = (number + event["fraction"]) / count
        report({**event, **changed, "fold": f"{number + 1} of {count}"})

    return tell
