"""Adapted classifiers, each without a part of the images, see :mod:`.crosscheck`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...card import Card
from ...errors import Cancelled
from ...inference.classify import probabilities
from ...io.imageset import ImageSet
from ...metrics.classification import classification_scores
from ...model import load_model, save_model
from ..classification.crossvalidation import digests_of, holding_out, out_of_fold, undivided
from ..classification.task import ClassificationConfig, ClassificationTask, Images
from ..classification.train import ClassificationRecipe, figures_of, observe_worst
from ..folds import folds, folds_in, keep_split, train_folds
from ..train import run_folder
from ..trainer import Trainer
from .classifier import ClassifierAdapter
from .common import IMPROVE, Found, Measured, adapted_card
from .lora import layer_by_layer
from .runs import Ended


class ClassifierFolds:
    """A :class:`.crosscheck.Check`; images that are the same stay together, and each part has about as many of each
    class."""

    def __init__(self, adaptation: ClassifierAdapter) -> None:
        self._adaptation, self._data = adaptation, undivided(adaptation.data)
        train, val = adaptation.train, adaptation.val
        self._images = Images(torch.cat([train.images, val.images]), torch.cat([train.targets, val.targets]))
        self._samples = self._data.splits["train"]
        self._digests = digests_of(self._samples, self._images)
        self.labels = adaptation.labels
        self.subjects = len(set(self._digests.values()))

    def parts(self, count: int) -> list[list[str]]:
        classes = {sample.id: sample.target for sample in self._samples}
        return folds(list(self._digests), count, self._digests, self._adaptation.settings.seed, classes)

    def keep_split(self, path: Path, parts: Sequence[Sequence[str]], ended: Ended) -> None:
        known = {sample.id: f"{self._digests[sample.id]} {sample.target}" for sample in self._samples}
        keep_split(path, parts, known, ClassificationRecipe(self._adaptation.config(None)), {"model": ended.wrote})

    def learned_without(
        self, parts: Sequence[Sequence[str]], place: Path, ended: Ended, **watched: Callable[..., Any]
    ) -> Found:
        adaptation, data = self._adaptation, self._data
        every = folds_in(place, parts, partial(holding_out, data))
        train_folds(every, partial(_train, adaptation, ended), **watched)
        models = [load_model(fold.path, adaptation.device) for fold in every]
        _meaning, result = out_of_fold(models, data, self._images, parts)
        before = self._before()
        figures = figures_of(result, "out_of_fold")
        return Found(
            Measured(auc=result["auc"]),
            len(self._images),
            figures if before.auc is None else {**figures, "out_of_fold_before": before.auc},
            {},
            result,
            observe_worst(result, self._samples, adaptation.preprocessing),
            before,
            tuple(_unseen(result["cases"], self.labels)),
        )

    def _before(self) -> Measured:
        """The base on all images, of which it has seen none; empty where it does not know the classes."""
        adaptation, images = self._adaptation, self._images
        if adaptation.aim != IMPROVE:
            return Measured()
        network = adaptation.base.network.to(adaptation.device)
        found = probabilities(network, images.images, mirror=adaptation.preprocessing.mirror)
        return Measured(
            auc=classification_scores(found.numpy(), images.targets.numpy().astype(int), resamples=0)["auc"]
        )


class _Fold(ClassifierAdapter):
    """Learns as long as the model did, to the end: the images held out judge, and choose nothing."""

    def training(self, network: torch.nn.Module, minutes: float | None) -> ClassificationTask:
        task = super().training(network, minutes)
        task.selects = False
        return task

    def config(self, minutes: float | None) -> ClassificationConfig:
        return replace(super().config(minutes), first=False, patience=0)


def _train(
    adaptation: ClassifierAdapter,
    ended: Ended,
    data: ImageSet,
    output: Path,
    *,
    resume: bool,
    report: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
) -> Card:
    """Train as the adapter was, on other images, and write a model of its own; arguments as :func:`..train.train`
    takes them."""
    settings = replace(adaptation.settings, steps=ended.steps, minutes=None, rank=adaptation.rank, task=adaptation.aim)
    fold = _Fold(adaptation.base, data, settings, adaptation.device)
    report({"event": "plan", "reasons": (), "held_out": [sample.id for sample in data.splits["val"]]})
    with layer_by_layer():
        start = fold.begin()
        task = fold.training(start.network, None)
        trainer = Trainer(start.network, task, run_folder(output), fold.device, report, cancelled, fold.identity)
        if resume:
            trainer.resume()
        outcome = trainer.run()
        if cancelled():
            raise Cancelled
        trainer.network.load_state_dict({**trainer.network.state_dict(), **outcome.state})
        end = fold.conclude(trainer.network, start.before)
    card = adapted_card(fold, fold.describe(end, start.before), end.network, output, {"steps": outcome.steps})
    return save_model(end.network, replace(card, adapter=None), output)


def _unseen(cases: Sequence[Mapping[str, Any]], labels: Mapping[int, str]) -> list[str]:
    """Of classes that the images of one fold alone show, which the network that judged them had no example of."""
    shown = {name: {case["fold"] for case in cases if case["target"][value]} for value, name in labels.items()}
    alone = [name for name, where in shown.items() if len(where) == 1]
    text = "only the images of one fold show it, and no other could teach it; add images of it"
    return [f"{', '.join(alone)}: {text}"] if alone else []
