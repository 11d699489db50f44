"""New labels are learned by a small network of its own, which needs nothing of a base."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ...card import SEGMENTATION, Card
from ...inference.predict import evaluating, tile
from ...messages.words import LEAST_FOLDS
from ...model import Model
from ...networks import DEFAULT_SEGMENTER, build
from ..checkpoint import copy_of
from ..plan import TrainingPlan, make_plan
from ..precision import computing, training_dtype
from ..train import default_labels
from ..trainer import TrainingConfig, now
from .cases import Cases
from .common import NEW_LABELS, AdaptSettings, End, Measured, Start, adapter_entry, shortened
from .segmenter import SegmenterAdaptation


class OwnNetwork(SegmenterAdaptation):
    """An :class:`.common.Adaptation` without a base: by the plan for minutes, a network learns from random weights to
    the end of its budget, and cases held out tell how good it is."""

    aim: str = NEW_LABELS
    precision = "auto"  # in float32, measuring would take minutes from learning

    def __init__(self, base: Model, cases: Cases, settings: AdaptSettings, device: torch.device) -> None:
        if settings.rate is None:
            settings = replace(settings, rate=TrainingConfig.rate)
        self.plan = make_plan(cases.dataset, cases.train, quick=True, load=cases.checked.load)
        super().__init__(base, cases, cases.dataset, _goal(cases, self.plan), settings, device)

    def reasons(self) -> tuple[str, ...]:
        return (
            "a small network of its own, from random weights, for new labels",
            *self.learned_from("tell how good it is"),
            *self.plan.reasons,
        )

    def begin(self) -> Start:
        torch.manual_seed(self.settings.seed)
        own = {"channels": self.goal.preprocessing.channels, "classes": self.goal.classes, "strides": self.plan.strides}
        network = build(DEFAULT_SEGMENTER, {**own, **self.plan.network}, None).to(self.device)
        return Start(network, Measured(), None, self._expected_measuring(network))

    def _expected_measuring(self, network: nn.Module) -> float:
        """Seconds that measuring will take."""
        patch_size, clock = self.goal.preprocessing.patch_size, self.settings.clock
        patches = sum(len(tile(volume.image, patch_size)[1]) for volume in self.val)
        patch = torch.zeros(1, self.goal.preprocessing.channels, *patch_size)
        times = []
        with evaluating(network), torch.inference_mode(), computing(self.device, training_dtype(self.device)):
            for _ in range(3):  # the first one is slower
                started = now(clock)
                network(patch.to(self.device))
                times.append(now(clock) - started)
        return patches * min(times)

    def config(self, minutes: float | None) -> TrainingConfig:
        # averaged weights at the end of the budget are the best ones
        config = replace(super().config(minutes), last=True, patience=0)
        return replace(config, batch=self.plan.batch, **self.plan.training)

    def conclude(self, network: nn.Module, _before: Measured) -> End:
        network.eval()
        advice = "; a check on every case tells" if len(self.train) >= LEAST_FOLDS else ""
        return End(network, copy_of(network.state_dict()), self.judge(network, advice), None)

    def describe(self, end: End, before: Measured) -> Card:
        entry = adapter_entry(self)
        return replace(super().describe(end, before), training={"cases": entry.cases, "settings": entry.settings})


def _goal(cases: Cases, plan: TrainingPlan) -> Card:
    """The card; network and figures are left to be set."""
    dataset = cases.dataset
    learned = ", ".join(dataset.labels.values())
    return Card(
        name="",
        title=shortened(learned),
        description=f"{learned}: learned from {len(cases.train)} case(s).",
        task=SEGMENTATION,
        labels=default_labels(dataset.labels),
        modality=", ".join(dataset.modalities),
        preprocessing=plan.preprocessing,
        network={},
        booster={},
        one_piece=plan.one_piece,
        license=dataset.license,
        citation=dataset.reference,
    )
