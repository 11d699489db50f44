"""A model of Auto3DSeg's segresnet: a checkpoint that carries its config, and our model of it.

SlicerMONAIAuto3DSeg's archives hold model.pt and labels.csv; a work folder of Auto3DSeg holds
segresnet_0/model/model.pt and so on, one for each fold. Images are prepared in the order of the training, for that is
what the weights saw.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch import nn

from ...card import (
    RAS,
    SEGMENTATION,
    STORED,
    Card,
    Code,
    Foreground,
    Label,
    Normalization,
    Origin,
    Preprocessing,
    Tiling,
)
from ...card.modality import term
from ...errors import LLMBoostError
from ...files import check_regular, digest_of, printable, visible
from ...networks.ensemble import Ensemble
from ..checkpoint import read_checkpoint
from ..translation import Translation, Unsupported, chosen, filled, label, told_apart
from .bundle import MOST_OUTPUTS, weights_of
from .config import Config
from .network import channels_of, checked_arguments

AUTO3DSEG = "MONAI Auto3DSeg"
CHECKPOINT = "model.pt"
TABLE = "labels.csv"
_MARGIN = 10  # voxels around the foreground
_SLACK = 0.25  # an axis whose spacing is within so much of the model's is not resampled
_TILING = Tiling(overlap=0.625, average="logits", back="classes")
_BRATS = (2, 1, 3)  # the values of the whole tumor, its core and what enhances, in the order of the outputs
_FOLD = re.compile(r"^segresnet_(\d+)$")
_DEPTH = 6  # folders below the one that is named
_MAX_BYTES = 2**20  # of a table of labels
_CODES = {
    "category": "SegmentedPropertyCategoryCodeSequence",
    "type": "SegmentedPropertyTypeCodeSequence",
    "modifier": "SegmentedPropertyTypeModifierCodeSequence",
    "region": "AnatomicRegionSequence",
    "region_modifier": "AnatomicRegionModifierSequence",
}


@dataclass(frozen=True)
class Auto3DSeg:
    """A model's folder, and its checkpoints by fold."""

    folder: Path
    checkpoints: dict[str, Path]


def wanted(member: PurePosixPath) -> bool:
    """Which files of an archive are needed."""
    return member.name in (CHECKPOINT, TABLE)


def find_auto3dseg(folder: Path) -> list[Auto3DSeg]:
    """The models at or below ``folder``."""
    found: dict[Path, dict[str, Path]] = {}
    for place in _places(folder):
        file = place / CHECKPOINT
        fold = _FOLD.match(place.parent.name)
        if fold and place.name == "model":
            found.setdefault(place.parent.parent, {})[fold[1]] = file
        elif (place / TABLE).is_file():
            found[place] = {"0": file}
    return [Auto3DSeg(place, checkpoints) for place, checkpoints in found.items()]


def auto3dseg_at_hand() -> list[Auto3DSeg]:
    """What SlicerMONAIAuto3DSeg keeps on this machine."""
    place = Path.home() / ".MONAIAuto3DSeg" / "models"
    return find_auto3dseg(place) if place.is_dir() else []


def _places(folder: Path) -> Iterator[Path]:
    """The folders with a checkpoint, in the order of their names."""
    for place, folders, files in os.walk(folder):
        path = Path(place)
        if CHECKPOINT in files:
            yield path
        folders[:] = sorted(folders) if len(path.relative_to(folder).parts) < _DEPTH else []


def translate_auto3dseg(found: Auto3DSeg, folds: str | None, name: str) -> Translation:
    """A model of Auto3DSeg as one of ours.

    Args:
        folds: see :func:`..translation.chosen`.
        name: the model's, where nothing better is told.

    Raises:
        LLMBoostError: it cannot be translated, with the reason.
    """
    members: list[nn.Module] = []
    cards: list[Card] = []
    digests = {}
    for file in chosen(found.checkpoints, folds, found.folder).values():
        content = read_checkpoint(file)
        config, state = content.get("config"), content.get("state_dict")
        if not isinstance(config, dict) or not isinstance(state, dict):
            raise LLMBoostError(f"{file}: no checkpoint of Auto3DSeg's segresnet (it holds no config)")
        try:
            entry, card = _translated(config, found.folder, name)
        except Unsupported as error:
            raise LLMBoostError(f"{found.folder}: cannot be imported, {error}") from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            reason = printable(f"{type(error).__name__}: {error}")
            raise LLMBoostError(f"{file}: its config is damaged ({reason})") from error
        members.append(filled(entry, weights_of(state, file), file, "its config"))
        cards.append(card)
        digests[file.relative_to(found.folder).as_posix()] = digest_of(file)
    if any(card != cards[0] for card in cards):
        raise LLMBoostError(f"{found.folder}: its folds were not trained alike; choose one with --fold")
    network = members[0] if len(members) == 1 else Ensemble(members, _TILING.average)
    return Translation(network, replace(cards[0], origin=Origin(AUTO3DSEG, name, digests)))


def _translated(config: Mapping[str, Any], folder: Path, name: str) -> tuple[dict[str, Any], Card]:
    """The entry of our card's network, and the card."""
    kind, arguments = checked_arguments(Config({"network": _with_usual_norm(config["network"])}).get("network"))
    if kind not in ("SegResNetDS", "SegResNet") or arguments.get("spatial_dims", 3) != 3:
        raise Unsupported(f"its network {kind} is not Auto3DSeg's segresnet")
    channels, outputs = channels_of(kind, arguments)
    if outputs > MOST_OUTPUTS:
        raise Unsupported(f"its network has {outputs} outputs")
    labels = _labels(config, folder, name, outputs)
    shown = ", ".join(one.name for one in labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    card = Card(
        name=name,
        title=f"{name.replace('-', ' ').replace('_', ' ')} (MONAI Auto3DSeg)",
        description=visible(f"Trained by MONAI Auto3DSeg: {shown}"),
        task=SEGMENTATION,
        labels=labels,
        modality=_modality(config, channels),
        preprocessing=_preprocessing(config, channels),
        network={},
        booster={},
        tiling=_TILING,
        activation="sigmoid" if config.get("sigmoid", False) else "softmax",
    )
    return {"name": "monai", "kind": kind, "arguments": arguments}, card


def _with_usual_norm(network: Any) -> Any:
    """The network's entry with PyTorch's instance norm in place of apex's, whose weights have the same names."""
    if not isinstance(network, dict):
        raise Unsupported("its config tells no network")
    norm = network.get("norm")
    named, options = (norm[0], norm[1]) if isinstance(norm, (list, tuple)) and len(norm) == 2 else (norm, {})
    if str(named).upper() != "INSTANCE_NVFUSER":
        return network
    return {**network, "norm": ["INSTANCE", {"affine": True, **options}]}


def _preprocessing(config: Mapping[str, Any], channels: int) -> Preprocessing:
    extra = dict(config.get("extra_modalities") or {})
    if extra and len(extra) + 1 != channels:
        raise Unsupported(f"its network takes {channels} channels, its config names {len(extra) + 1}")
    modes = (
        [config.get("normalize_mode", "meanstd"), *extra.values()] if extra else [config["normalize_mode"]] * channels
    )
    low, high = (float(bound) for bound in config.get("intensity_bounds") or (-250, 250))
    steps = [_intensities(str(mode), low, high) for mode in modes]
    wanted = config.get("resample_resolution")
    resample = wanted is not None and bool(config.get("resample", True))
    spacing = [float(mm) for mm in wanted or ()] if resample else [1.0] * 3
    (r, a, s), (i, j, k) = spacing, (int(size) for size in config["roi_size"])
    several = any(len(each) > 1 for each in steps)
    return Preprocessing(
        channels=channels,
        spacing=(r, a, s),
        patch_size=(i, j, k),
        normalization=tuple(first for first, *_ in steps),
        further=tuple(tuple(rest) for _, *rest in steps) if several else (),
        orientation=RAS if config.get("orientation_ras", False) else STORED,
        foreground=Foreground(margin=_MARGIN) if config.get("crop_foreground", True) and not extra else None,
        resampling="linear" if resample else "none",
        slack=_SLACK if resample else 0.0,
    )


def _intensities(mode: str, low: float, high: float) -> list[Normalization]:
    if mode in ("range", "ct"):
        if not low < high:
            raise Unsupported(f"its intensities go from {low:g} to {high:g}")
        std = (high - low) / 2
        return [Normalization("scale", mean=low + std, std=std), Normalization("sigmoid")]
    if mode in ("meanstd", "mri"):
        return [Normalization("standard-nonzero")]
    if mode == "meanstdtanh":
        return [Normalization("standard-nonzero"), Normalization("tanh", std=3.0)]
    if mode == "pet":
        return [Normalization("lowest"), Normalization("sigmoid")]
    if mode == "none":
        return [Normalization("scale")]
    raise Unsupported(f"its normalization {printable(mode)} is not known")


def _modality(config: Mapping[str, Any], channels: int) -> str:
    words = [str(config.get("modality") or ""), *map(str, (config.get("extra_modalities") or {}).values())]
    kinds = [term(word) for word in words]
    return ", ".join(dict.fromkeys(kinds)) if all(kinds) and len(kinds) in (1, channels) else kinds[0]


def _labels(config: Mapping[str, Any], folder: Path, name: str, outputs: int) -> tuple[Label, ...]:
    """What is drawn, in the order of the network's outputs."""
    table, sigmoid = folder / TABLE, bool(config.get("sigmoid", False))
    told = _table(table) if table.is_file() else _named(config, sigmoid)
    if not sigmoid:
        return told_apart([told.get(n) or label(n, f"label {n}") for n in range(1, outputs)])
    values = list(_BRATS) if "brats" in name.lower() and outputs == len(_BRATS) else sorted(told)
    if len(values) != outputs:
        raise Unsupported(f"its {outputs} outputs overlap, and {TABLE} does not tell {outputs} labels")
    return told_apart([told.get(value) or label(value, f"label {value}") for value in values])


def _named(config: Mapping[str, Any], sigmoid: bool) -> dict[int, Label]:
    """Labels that the config names, by their values."""
    names = config.get("class_names") or []
    words = [str(one["name"]) if isinstance(one, dict) and "name" in one else str(one) for one in names]
    if not sigmoid and words and words[0].lower() == "background":
        words = words[1:]
    return {n: label(n, word) for n, word in enumerate(words, 1)}


def _table(path: Path) -> dict[int, Label]:
    """The labels of a labels.csv by their values, with their codes.

    Raises:
        LLMBoostError: no such table.
    """
    check_regular(path)
    if path.stat().st_size > _MAX_BYTES:
        raise LLMBoostError(f"{path}: refused, larger than any table of labels")
    result = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                value = int(row.get("LabelValue") or "")
                if value > 0:
                    codes: dict[str, Any] = {
                        field: code for field, word in _CODES.items() if (code := _code(row, word))
                    }
                    result[value] = replace(label(value, str(row.get("Name") or "")), **codes)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise LLMBoostError(f"{path}: no table of labels (columns LabelValue and Name are expected)") from error
    return result


def _code(row: Mapping[str, Any], word: str) -> Code | None:
    parts = (row.get(f"{word}.{part}") for part in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning"))
    scheme, value, meaning = (visible(str(part or "").strip()) for part in parts)
    return Code(scheme, value, meaning) if scheme and value and meaning else None
