"""The card itself, and its way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import LLMBoostError
from ..files import printable
from ..jsonfile import parse_json
from .checks import check
from .fields import (
    ENSEMBLE,
    SEGMENTATION,
    Adapter,
    Cascade,
    Classification,
    Code,
    Label,
    Origin,
    Preprocessing,
    Quality,
    Subject,
    Tiling,
)
from .figures import doubts
from .typed import build, prepare

FORMAT = 2  # 1: without tiling, activation, origin and the later entries of preprocessing
CROP = 1.25  # patches of the model: an image that extends further is no crop
# fields of cards written before version 0.2, by the entry that they stand in
_FORMER_NAMES = {
    "preprocessing": {"window": "patch_size"},
    "network": {"window": "image_size", "fold": "unshuffle"},
    "classification": {"framing": "input_region"},
}


@dataclass(frozen=True)
class Card:
    """Everything that a user, the panel and the engine know about a model without reading its weights.

    ``network`` and ``booster`` are the keyword arguments that rebuild the network; ``training`` tells data, license,
    steps and seed; ``figures`` holds measured results. ``cascade`` is for images larger than the crops that the network
    knows, ``subject`` for a model that draws in images of one subject alone.
    ``largest_component``: of all that is found, the largest piece is kept; ``one_piece``: of each of these labels.
    ``intracranial``: the values of the labels that together are all that lies inside the skull, if they are; their
    volumes add up to the total intracranial volume.
    ``activation``: "softmax", or "sigmoid" where each label has an output of its own (there is none of the background):
    it is drawn where that is above 0, and covers the labels before it.
    ``classification`` is a classifier's, ``adapter`` that of a model whose file needs its base's, ``origin`` that of a
    model that another program trained.
    ``digest`` is the SHA-256 of the file's tensor section.
    """

    name: str
    title: str
    description: str
    task: str
    labels: tuple[Label, ...]
    modality: str
    preprocessing: Preprocessing
    network: dict[str, Any]
    booster: dict[str, Any]
    largest_component: bool = False
    one_piece: tuple[int, ...] = ()
    intracranial: tuple[int, ...] = ()
    tiling: Tiling = field(default_factory=Tiling)
    activation: str = "softmax"
    cascade: Cascade | None = None
    subject: Subject | None = None
    classification: Classification | None = None
    adapter: Adapter | None = None
    quality: Quality | None = None
    origin: Origin | None = None
    license: str = ""
    citation: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    version: str = "1.0"
    digest: str = ""
    format: int = FORMAT

    @property
    def classes(self) -> int:
        """How many a voxel, or an image, may be of: the labels and, in a segmentation, the background."""
        return len(self.labels) + (self.task == SEGMENTATION)

    @property
    def outputs(self) -> int:
        """Of the network: the classes, or the labels alone where each has an output of its own."""
        return len(self.labels) if self.activation == "sigmoid" else self.classes

    def needs_cascade(self, extent: Sequence[float]) -> bool:
        """Whether an image that extends so far (mm, along any three axes) is larger than the crops that the network
        knows, and there is a cascade for that."""
        preprocessing = self.preprocessing
        patch_size = sorted(
            CROP * n * mm for n, mm in zip(preprocessing.patch_size, preprocessing.spacing, strict=True)
        )
        return self.cascade is not None and any(a > b for a, b in zip(sorted(extent), patch_size, strict=True))

    @property
    def sided_labels(self) -> tuple[Label, ...]:
        """The labels that a cascade draws: the card's for each target in turn, with its side, and values counted on."""
        if self.cascade is None:
            return ()
        step = max(label.value for label in self.labels)
        return tuple(
            dataclasses.replace(_on_side(label, target.side), value=label.value + n * step)
            for n, target in enumerate(self.cascade.targets)
            for label in self.labels
        )

    @property
    def is_ensemble(self) -> bool:
        """Whether several networks answer together, which cannot be adapted as one."""
        return self.network.get("name") == ENSEMBLE

    @property
    def adaptable(self) -> bool:
        """Whether the network can learn more: it is one, and it segments where others trained it."""
        return not self.is_ensemble and (self.origin is None or self.task == SEGMENTATION)

    @property
    def learned_from(self) -> int | None:
        """From how many cases an adapter, or a network of its own, was learned; None of what was trained otherwise."""
        cases = self.adapter.cases if self.adapter else self.training.get("cases")
        return None if cases is None else len(cases)

    @property
    def doubts(self) -> str:
        """Why the model is hardly of use, by its own figures, such as "model 'x' has learned nothing (Dice 0.03 on
        validation cases)"; empty if there is no sign of that."""
        found = doubts(self)
        return f"model '{printable(self.name)}' {found}" if found else ""

    def to_json(self) -> str:
        """Raises ValueError if a figure is no finite number."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str, source: str = "the card") -> Card:
        """Rebuild a card; ``source`` names the file in messages.

        Raises:
            LLMBoostError: the text is no card, or one of a newer format.
        """
        try:
            raw = parse_json(text)
            if type(version := raw["format"]) is not int:
                raise TypeError("the format is no number")
        except (ValueError, TypeError, KeyError) as error:
            reason = printable(str(error))
            raise LLMBoostError(f"{source}: not a LLMBoost model (its card cannot be read: {reason})") from error
        if version > FORMAT:
            raise LLMBoostError(
                f"{source}: written by a newer LLMBoost (card format {printable(str(version))}, this one reads up to"
                f" {FORMAT}); update the extension"
            )
        try:
            card: Card = build(Card, _with_todays_names(raw))
            check(card)
            return card
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise LLMBoostError(f"{source}: not a LLMBoost model (damaged card: {printable(str(error))})") from error


prepare(Card)


def _on_side(label: Label, side: Code | None) -> Label:
    if side is None:
        return label
    name = f"{side.meaning} {label.name[:1].lower()}{label.name[1:]}"
    if label.modifier is None:
        return dataclasses.replace(label, name=name, modifier=side)
    # terminologies have room for one modifier of the type; what stood there tells the part of the region
    return dataclasses.replace(label, name=name, modifier=side, region=label.type, region_modifier=label.modifier)


def _with_todays_names(raw: dict[str, Any]) -> dict[str, Any]:
    raw = {"one_piece": [], "intracranial": [], "tiling": {}, **raw}  # cards of before had no such fields
    if isinstance(raw.get("preprocessing"), dict):
        raw["preprocessing"] = {"further": [], **raw["preprocessing"]}
    for entry, names in _FORMER_NAMES.items():
        if raw.get(entry) is not None:
            raw[entry] = {names.get(name, name): value for name, value in raw[entry].items()}
    return raw
