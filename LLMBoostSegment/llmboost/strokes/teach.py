"""A model learns from strokes in the very image that it segments.

A few steps of an adapter on the painted voxels alone, the idea of BIFSeg (Wang et al. 2018, arXiv 1710.04043). A model
that is right does not learn; else strokes left out of the learning tell how much of it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adapter import merged
from ..card import Card
from ..inference.content import Box, seen_of
from ..inference.exclusive import class_logits, classes_of
from ..inference.predict import evaluating, tile
from ..inference.preprocessing import preprocess
from ..inference.views import View, views
from ..inference.watch import UNWATCHED, Watch
from ..io.image import Image
from ..learn.adaptation.lora import (
    AdapterConfig,
    adapter_state,
    default_scope,
    inject,
    interpolate,
    layer_by_layer,
)
from ..learn.adaptation.onbase import network_of
from ..learn.learner import Learner
from ..learn.loss import IGNORED, SegmentationLoss, marginal
from ..learn.trainer import TrainingConfig
from ..messages.strokes import BACKGROUND
from ..model import Model
from .strokes import Strokes

STEPS = 4  # over each patch that strokes lie in
RATE, RANK = 1e-3, 4
RIGHT = 0.95  # of the painted voxels: a model that has so many right is not taught
SHARES = (0.25, 0.5)  # of what was learned; the first one where all strokes lie in one slice, and none can be left out
LEFT_OUT = 3  # slices, one at a time: all of the first strokes', where they lie in three


@dataclass(frozen=True, eq=False)
class Taught:
    """What came of it.

    Attributes:
        model: that knows what was learned; where nothing was, the one that was given.
        tensors: the adapter's, empty where nothing was learned.
        share: of what was learned that is used, 0 to 1.
        right: the share of the painted voxels that the model had right before, the mean over the classes.
        left_out: of :attr:`.strokes.Strokes.groups`, those that were left out to see how much of it to use.
        found: of each of them, the share of voxels that it has right without having learned from them.
    """

    model: Model
    tensors: dict[str, Tensor] = field(default_factory=dict)
    share: float = 0.0
    right: float = 1.0
    left_out: tuple[int, ...] = ()
    found: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Lesson:
    """A patch that strokes lie in.

    Attributes:
        image: (1, C, R, A, S), as the network takes it.
        label: int (1, 1, R, A, S): the network's class, IGNORED where nothing is painted.
        group: int (1, 1, R, A, S): of :attr:`.strokes.Strokes.groups`, -1 where nothing is painted.
    """

    image: Tensor
    label: Tensor
    group: Tensor

    def of(self, groups: Sequence[int]) -> Tensor:
        """The label, of these groups' strokes alone."""
        return self.label.masked_fill(~torch.isin(self.group, torch.tensor(groups)), IGNORED)


def teach(model: Model, channels: Sequence[Image], strokes: Strokes, watch: Watch = UNWATCHED) -> Taught | None:
    """Let a segmenter learn from strokes; neither its file nor its weights change. None: it does not look at what is
    painted, as in images of another kind.

    Args:
        channels: one image a channel, the part of the case that is to be segmented.
        strokes: on the first channel's grid; their values are those of the card's labels.

    Raises:
        LLMBoostError: what :func:`..inference.views.views` refuses, or PEFT is not installed.
        Cancelled: whoever waits cancelled.
    """
    patches = lessons(model, channels, strokes)
    if not patches:
        return None
    teaching = _Teaching(model, strokes, patches)
    right, _ = teaching.judge(model.network, teaching.groups)
    if right >= RIGHT:
        return Taught(model, right=right)
    left_out = teaching.to_leave_out()
    # by strokes left out and by share: how much is right, and the cross-entropy; nothing, as much as any share
    judged = np.zeros((len(left_out), len(SHARES), 2))
    for n, group in enumerate(left_out):
        part = watch.part(n / (len(left_out) + 1), (n + 1) / (len(left_out) + 1))
        tensors = teaching.learn([other for other in teaching.groups if other != group], part)
        judged[n] = [teaching.judge(teaching.knowing(tensors, share), [group]) for share in SHARES]
    # where all strokes lie in one slice, nothing tells that more would be better
    best = int(judged[:, :, 1].sum(axis=0).argmin())
    share = SHARES[best]
    tensors = teaching.learn(teaching.groups, watch.part(len(left_out) / (len(left_out) + 1), 1))
    tensors = interpolate(model.network, tensors, share)
    network = teaching.knowing(tensors)
    found = tuple(float(one) for one in judged[:, best, 0])
    return Taught(replace(model, network=network), tensors, share, right, tuple(left_out), found)


class _Teaching:
    """Copies of a model's network that learn from ``lessons``, and what they know."""

    def __init__(self, model: Model, strokes: Strokes, lessons: Sequence[Lesson]) -> None:
        self.model, self.lessons, self.activation = model, lessons, model.card.activation
        self.groups = sorted({int(group) for lesson in lessons for group in lesson.group.unique() if group >= 0})
        self.device = next(model.network.parameters()).device
        # what was not painted may lie wherever background was: it is not a mistake there
        painted = [label.value in strokes.values for label in model.card.labels]
        self.drawn = torch.tensor([[True, *painted]], device=self.device)
        self.loss = SegmentationLoss()

    def to_leave_out(self) -> list[int]:
        """Of the groups, those that show most, where there are others."""
        shown = {group: sum(int((lesson.group == group).sum()) for lesson in self.lessons) for group in self.groups}
        return sorted(shown, key=lambda group: -shown[group])[:LEFT_OUT] if len(self.groups) > 1 else []

    def learn(self, groups: Sequence[int], watch: Watch) -> dict[str, Tensor]:
        """The adapter's tensors after learning from the strokes of these groups."""
        torch.manual_seed(0)
        network = network_of(self.model)
        inject(network, AdapterConfig(RANK, default_scope(network)))
        batches = [(lesson, label) for lesson in self.lessons if ((label := lesson.of(groups)) != IGNORED).any()]
        learner = Learner(network, TrainingConfig(steps=STEPS * len(batches), batch=1, rate=RATE), self.device)
        with layer_by_layer():
            for step in range(STEPS):
                for n, (lesson, label) in enumerate(batches):
                    watch.go_on()
                    watch.progress((step + n / len(batches)) / STEPS)
                    learner.learn(partial(self._loss, network), {"image": lesson.image, "label": label}, RATE)
        return adapter_state(network)

    def _loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        levels = [class_logits(outputs.float(), self.activation) for outputs in cast(Any, network).deep(batch["image"])]
        return cast(Tensor, self.loss(levels, batch["label"], self.drawn))

    def knowing(self, tensors: dict[str, Tensor], share: float = 1.0) -> nn.Module:
        """The model's network with a share of what an adapter has learned."""
        network = network_of(self.model)
        network.load_state_dict(merged(self.model.network, network, interpolate(self.model.network, tensors, share)))
        return network.to(self.device)

    @torch.inference_mode()
    def judge(self, network: nn.Module, groups: Sequence[int]) -> tuple[float, float]:
        """Of the voxels that are painted in these groups, the share that is right, and the cross-entropy; each is the
        mean over the classes."""
        logits, drawn, painted = [], [], []
        with evaluating(network):
            for lesson in self.lessons:
                label = lesson.of(groups)[0, 0]
                if (here := label != IGNORED).any():
                    outputs = network(lesson.image.to(self.device)).float()
                    found = marginal(class_logits(outputs, self.activation), self.drawn)
                    logits.append(found[0].cpu()[:, here].T)
                    drawn.append(classes_of(outputs[0], self.activation).cpu()[here].long())
                    painted.append(label[here])
        answers, classes, truth = torch.cat(logits), torch.cat(drawn), torch.cat(painted)
        right = (classes.where(self.drawn[0].cpu()[classes], 0) == truth).float()
        wrong = F.cross_entropy(answers, truth, reduction="none")
        right, wrong = (torch.stack([of[truth == value].mean() for value in truth.unique()]) for of in (right, wrong))
        return float(right.mean()), float(wrong.mean())


def lessons(model: Model, channels: Sequence[Image], strokes: Strokes) -> list[Lesson]:
    """The patches that strokes lie in, as few as hold all of them."""
    found: list[Lesson] = []
    for view in views(model, channels).views:
        channels, box = seen_of(view.channels, model.card.preprocessing)
        work = preprocess(channels, model.card.preprocessing)
        painted = _on_grid(work, view, box, model.card, strokes)
        image, size = torch.from_numpy(work.array), model.card.preprocessing.patch_size
        padded, places, inside = tile(image, size)
        label, group = (torch.full((1, *padded.shape[1:]), nothing) for nothing in (IGNORED, -1))
        for target, source in zip((label, group), painted, strict=True):
            target[(0, *inside)] = torch.from_numpy(source)
        left = group[0] >= 0
        while left.any():
            best = max(places, key=lambda place: int(left[place].sum()))
            left[best] = False
            found.append(Lesson(*(part[(None, slice(None), *best)] for part in (padded, label, group))))
    return found


def _on_grid(work: Image, view: View, seen: Box, card: Card, strokes: Strokes) -> tuple[np.ndarray, np.ndarray]:
    """The network's class and the group of strokes, int64, of each voxel of ``work``; IGNORED and -1 where nothing is
    painted.

    Args:
        seen: what of the view the network sees, on its first channel's grid.
    """
    classes = np.full(BACKGROUND + 1, IGNORED)
    classes[[label.value for label in card.labels]] = np.arange(1, card.classes)
    classes[BACKGROUND] = 0
    values, groups = (view.turned(view.part(array)) for array in (strokes.array, strokes.groups))
    grid = view.channels[0]
    indices = np.argwhere(groups[seen] >= 0) + [part.start for part in seen]
    # background first: where a voxel of the network holds several strokes, labels stay
    indices = indices[np.argsort(classes[values[tuple(indices.T)]], kind="stable")]
    to_work = np.linalg.solve(work.affine, grid.affine)
    nearest = np.rint(indices @ to_work[:3, :3].T + to_work[:3, 3]).astype(int)
    places = tuple(nearest.clip(0, np.array(work.shape) - 1).T)
    label, group = np.full(work.shape, IGNORED), np.full(work.shape, -1)
    label[places], group[places] = classes[values[tuple(indices.T)]], groups[tuple(indices.T)]
    return label, group
