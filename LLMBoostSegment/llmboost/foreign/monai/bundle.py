"""A bundle: configs/inference.json (or .yaml), configs/metadata.json and models/model.pt, and our model of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from ...card import (
    CLASSIFICATION,
    SEGMENTATION,
    STORED,
    Card,
    Classification,
    Label,
    Normalization,
    Origin,
    Preprocessing,
    Tiling,
)
from ...card.modality import term
from ...errors import LLMBoostError
from ...files import digest_of, printable, visible
from ...jsonfile import read_json
from ...networks.monai_network import KINDS
from ..checkpoint import read_checkpoint
from ..translation import Translation, Unsupported, filled, label, told_apart
from .answers import Answer, Inferer, read_answer, read_inferer
from .config import Config, read_config
from .network import channels_of, dimensions_of, network_arguments
from .preprocessing import Plan, read_preprocessing
from .terms import read_terms, text_of

BUNDLE = "MONAI bundle"
_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
DATA_LICENSE = "data_license.txt"
MAX_TOLD = 2000  # characters of it
_DEPTH = 6  # folders below the one that is named
_LOADERS = ("CheckpointLoader", "monai.handlers.CheckpointLoader")
_WRAPPERS = ("module.", "_orig_mod.")
_BACKGROUND = re.compile("back|^bg$|^0?$|other|unlabel", re.I)
MOST_OUTPUTS = 1000


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, and its config."""

    folder: Path
    config: Path


def wanted(member: PurePosixPath) -> bool:
    """Which files of an archive are needed."""
    place = member.parent.name
    return (
        (place == "configs" and member.name in (*_CONFIGS, "metadata.json"))
        or (place == "models" and member.suffix in (".pt", ".pth"))
        or member.name.upper().startswith("LICENSE")
        or member.name == DATA_LICENSE
    )


def find_bundles(folder: Path) -> list[Bundle]:
    """The bundles at, above or below ``folder``."""
    for one in (folder, folder.parent) if folder.name in ("configs", "models") else (folder,):
        if found := _bundle(one):
            return [found]
    return list(_below(folder))


def bundles_at_hand() -> list[Bundle]:
    """What lies where MONAI keeps what it downloads."""
    named = os.environ.get("MONAI_DATA_DIRECTORY")
    places = [*([Path(named)] if named else []), Path.home() / ".cache" / "torch" / "hub" / "bundle"]
    if torch_home := os.environ.get("TORCH_HOME"):
        places.append(Path(torch_home) / "hub" / "bundle")
    found = {one.folder.resolve(): one for place in places if place.is_dir() for one in _below(place)}
    return list(found.values())


def _bundle(folder: Path) -> Bundle | None:
    for name in _CONFIGS:
        if (folder / "configs" / name).is_file():
            return Bundle(folder, folder / "configs" / name)
    return None


def _below(folder: Path) -> Iterator[Bundle]:
    for place, folders, _ in os.walk(folder):
        path = Path(place)
        if found := _bundle(path):
            yield found
            folders.clear()
        folders[:] = sorted(folders) if len(path.relative_to(folder).parts) < _DEPTH else []


@dataclass(frozen=True)
class Reading:
    """All that a bundle's config says of a model, before its weights are read.

    Attributes:
        entry: of our card's network.
        state: under which name the weights stand in the checkpoint, if not on their own.
        checkpoint: its place in the bundle.
    """

    entry: dict[str, Any]
    preprocessing: Preprocessing
    task: str
    labels: tuple[Label, ...]
    tiling: Tiling
    activation: str
    one_piece: tuple[int, ...]
    modality: str
    checkpoint: PurePosixPath
    state: str


def translate_bundle(bundle: Bundle, name: str) -> Translation:
    """A bundle as a model of ours.

    Args:
        name: the model's, where nothing better is told.

    Raises:
        LLMBoostError: it cannot be translated, with the reason.
    """
    metadata = read_metadata(bundle)
    reading = read_bundle(bundle, metadata)
    file = bundle.folder / reading.checkpoint
    if not file.exists():
        script = " (what there is, is a program: TorchScript)" if any(bundle.folder.glob("models/*.ts")) else ""
        raise LLMBoostError(
            f"{bundle.folder}: {reading.checkpoint} is missing{script}; `python -m monai.bundle download` fetches it"
        )
    network = filled(reading.entry, _weights(read_checkpoint(file), reading, file), file, bundle.config.name)
    told, terms = read_terms(bundle.folder)
    classes = [one.name for one in reading.labels]
    card = Card(
        name=name,
        title=visible(f"{metadata.get('name') or name} (MONAI bundle {metadata.get('version', '')})"),
        description=visible(str(metadata.get("description") or metadata.get("task") or f"draws {', '.join(classes)}")),
        task=reading.task,
        labels=reading.labels,
        modality=reading.modality,
        preprocessing=reading.preprocessing,
        network={},
        booster={},
        tiling=reading.tiling,
        activation=reading.activation,
        one_piece=reading.one_piece,
        classification=_classification(reading),
        origin=Origin(BUNDLE, name, {str(reading.checkpoint): digest_of(file)}),
        license=told,
        citation=visible("; ".join(map(str, metadata.get("references") or []))),
        training=_data(bundle, metadata),
    )
    return Translation(network, card, terms)


def _data(bundle: Bundle, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle tells of the data it was trained on, and of their license."""
    told = {
        "data": str(metadata.get("data_source") or ""),
        "data_license": text_of(bundle.folder / "docs" / DATA_LICENSE),
    }
    return {key: visible(" ".join(text.split()))[:MAX_TOLD] for key, text in told.items() if text.strip()}


def _classification(reading: Reading) -> Classification | None:
    if reading.task != CLASSIFICATION:
        return None
    several = reading.activation == "sigmoid"
    thresholds = (0.5,) * len(reading.labels) if several else ()
    return Classification(input_region="whole", multi_label=several, thresholds=thresholds)


def read_bundle(bundle: Bundle, metadata: Mapping[str, Any]) -> Reading:
    """What a bundle's config and its metadata say.

    Raises:
        LLMBoostError: there is something in it that our engine does not do as MONAI does, or it is damaged.
    """
    config = read_config(bundle.config)
    try:
        return _read(config, metadata)
    except Unsupported as error:
        raise LLMBoostError(f"{bundle.folder}: cannot be imported, {error}") from error
    except RecursionError as error:
        raise LLMBoostError(f"{bundle.config}: refused, nested too deeply") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = printable(f"{type(error).__name__}: {error}")
        raise LLMBoostError(f"{bundle.config}: damaged ({reason})") from error


def _read(config: Config, metadata: Mapping[str, Any]) -> Reading:
    kind, arguments = network_arguments(config)
    channels, outputs = channels_of(kind, arguments)
    if outputs > MOST_OUTPUTS:
        raise Unsupported(f"its network has {outputs} outputs")
    dimensions = dimensions_of(kind, arguments)
    formats = _formats(metadata)
    told = formats[0].get("num_channels")
    if type(told) is int and told != channels:
        raise Unsupported(f"its network takes {channels} channels, its metadata tells {told}")
    plan = read_preprocessing(config)
    if dimensions == 2 and (plan.resampling == "linear" or plan.orientation != STORED):
        raise Unsupported("a 2D network on images that are turned or brought to another spacing is not supported")
    if KINDS[kind].classifies:
        return _classifier(config, kind, arguments, plan, formats)
    inferer = read_inferer(config, dimensions)
    changed = plan.resampling != "none" or plan.foreground is not None
    answer = read_answer(config, outputs, changed=changed)
    across = (2 if inferer.across is None else inferer.across) if dimensions == 2 else None
    entry: dict[str, Any] = {"name": "monai", "kind": kind, "arguments": arguments, "across": across}
    labels = _labels(formats[1], outputs, answer)
    if answer.drawn:
        entry["outputs"] = [n for n, _ in answer.drawn]
    checkpoint, state = _checkpoint(config)
    if answer.pieces and not set(answer.pieces) <= {one.value for one in labels}:
        raise Unsupported(f"it keeps the largest piece of labels {answer.pieces}, some of which it does not draw")
    return Reading(
        entry=entry,
        preprocessing=_preprocessing(plan, channels, _patch(inferer, plan, formats[0], across), formats[0]),
        task=SEGMENTATION,
        labels=labels,
        tiling=Tiling(**{**vars(inferer.tiling), "back": answer.back}),
        activation=answer.activation,
        one_piece=tuple(one.value for one in labels) if answer.pieces is None else answer.pieces,
        modality=_modality(formats[0], channels),
        checkpoint=checkpoint,
        state=state,
    )


def _classifier(
    config: Config, kind: str, arguments: dict[str, Any], plan: Plan, formats: tuple[dict[str, Any], dict[str, Any]]
) -> Reading:
    channels, outputs = channels_of(kind, arguments)
    dimensions = dimensions_of(kind, arguments)
    inferer = read_inferer(config, dimensions)
    answer = read_answer(config, outputs, changed=False)
    if inferer.patch or plan.normalize == "before" or plan.foreground is not None or plan.resampling == "linear":
        raise Unsupported("a classifier that looks at parts of an image, or at one spacing, is not supported")
    if outputs < 2 and answer.activation == "softmax":
        raise Unsupported("a classifier with one output is not supported")
    across = 2 if dimensions == 2 else None
    names = _names(formats[1], outputs)
    checkpoint, state = _checkpoint(config)
    labels = [label(n + 1, name) for n, name in enumerate(names)]
    return Reading(
        entry={"name": "monai", "kind": kind, "arguments": arguments, "across": across},
        preprocessing=_preprocessing(plan, channels, _patch(inferer, plan, formats[0], across), formats[0]),
        task=CLASSIFICATION,
        labels=tuple(Label(one.value - 1, one.name, one.color) for one in told_apart(labels)),
        tiling=Tiling(),
        activation="softmax" if answer.activation == "softmax" else "sigmoid",
        one_piece=(),
        modality=_modality(formats[0], channels),
        checkpoint=checkpoint,
        state=state,
    )


def _preprocessing(plan: Plan, channels: int, patch: tuple[int, int, int], told: Mapping[str, Any]) -> Preprocessing:
    first, *further = plan.steps or [Normalization("scale")]
    names = [str(name).strip().lower() for name in (told.get("channel_def") or {}).values()]
    color = channels == 3 and (names in (["r", "g", "b"], ["red", "green", "blue"]) or told.get("format") == "RGB")
    return Preprocessing(
        channels=channels,
        spacing=plan.spacing,
        patch_size=patch,
        normalization=(first,) * channels,
        further=(tuple(further),) * channels if further else (),
        joint=plan.own is False and channels > 1,
        color=color,
        orientation=plan.orientation,
        foreground=plan.foreground,
        resampling=plan.resampling,
        normalize=plan.normalize,
    )


def _patch(inferer: Inferer, plan: Plan, told: Mapping[str, Any], across: int | None) -> tuple[int, int, int]:
    """What the network sees at once, with one voxel across slices; of all of an image, what its metadata tells."""
    sizes: Any = inferer.patch or plan.resized or told.get("spatial_shape")
    if not isinstance(sizes, (list, tuple)) or not all(type(size) is int and size > 0 for size in sizes):
        sizes = (2 * 64,) * (3 if across is None else 2)  # of all of an image, whose size nobody tells
    sizes = list(sizes)
    if across is not None:
        sizes.insert(across, 1)
    if len(sizes) != 3:
        raise Unsupported(f"its images have {len(sizes)} axes")
    r, a, s = sizes
    return r, a, s


def _labels(told: Mapping[str, Any], outputs: int, answer: Answer) -> tuple[Label, ...]:
    """What is drawn, in the order of the network's outputs."""
    names = _names(told, outputs)
    if answer.activation == "softmax":
        if not _BACKGROUND.search(names[0]):
            raise Unsupported(f"its first output is '{printable(names[0])}', not the background")
        return told_apart([label(n, names[n]) for n in range(1, outputs)])
    drawn = answer.drawn or tuple((n, n + 1) for n in range(outputs))
    if len(drawn) > 1 and not answer.drawn:
        raise Unsupported("its outputs overlap, and nothing tells which is drawn over which")
    visible_parts = []
    for place, (n, value) in enumerate(drawn):
        above = [names[m] for m, _ in drawn[place + 1 :]]
        visible_parts.append(label(value, f"{names[n]} outside {', '.join(above)}" if above else names[n]))
    return told_apart(visible_parts)


def _names(told: Mapping[str, Any], outputs: int) -> list[str]:
    """Of each output, its name."""
    names = told.get("channel_def") or told.get("label_def") or {}
    return [str(names.get(str(n), "background" if not n else f"label {n}")) for n in range(outputs)]


def _modality(told: Mapping[str, Any], channels: int) -> str:
    """The kind of images; of several channels, that of each, between commas."""
    whole = str(told.get("modality") or "")
    kind = term(whole) or ("" if whole.lower() in ("none", "n/a", "regular") else visible(whole))
    names = [str(name) for name in (told.get("channel_def") or {}).values()]
    if channels == 1 or len(names) != channels:
        return kind
    return ", ".join(dict.fromkeys(term(name) or kind for name in names)) if kind else ""


def _formats(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the metadata says of the input and of the output."""
    told = metadata.get("network_data_format")
    told = told if isinstance(told, dict) else {}
    found: list[dict[str, Any]] = []
    for end, usual in (("inputs", "image"), ("outputs", "pred")):
        entries = told.get(end)
        entry: Any = (entries.get(usual) or next(iter(entries.values()), {})) if isinstance(entries, dict) else {}
        found.append(entry if isinstance(entry, dict) else {})
    return found[0], found[1]


def read_metadata(bundle: Bundle) -> dict[str, Any]:
    """What a bundle tells of itself; raises LLMBoostError where that is damaged."""
    file = bundle.folder / "configs" / "metadata.json"
    return read_json(file) if file.is_file() else {}


def _checkpoint(config: Config) -> tuple[PurePosixPath, str]:
    """Where the weights lie in the bundle, and under which name in their file."""
    for name in ("checkpointloader", "handlers", "val_handlers"):
        found = config.content.get(name)
        for raw in found if isinstance(found, list) else [found]:
            if isinstance(raw, dict) and raw.get("_target_") in _LOADERS:
                place = Config({**config.content, "bundle_root": "."}).read(raw.get("load_path"))
                if not isinstance(place, str):
                    raise Unsupported(f"its weights lie at {printable(str(place))}")
                return _inside(place), next(iter(raw.get("load_dict") or {"model": ""}))
    return PurePosixPath("models/model.pt"), "model"


def _inside(place: str) -> PurePosixPath:
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or "\\" in place or path.suffix not in (".pt", ".pth"):
        raise Unsupported(f"its weights lie at {printable(place)}, not in its own folder")
    return PurePosixPath(*(part for part in path.parts if part != "."))


def _weights(content: Mapping[str, Any], reading: Reading, file: Path) -> dict[str, Tensor]:
    """The network's weights under our names of them."""
    state = content
    for key in (reading.state, "state_dict", "model"):
        if isinstance(content.get(key), dict):
            state = content[key]
            break
    return weights_of(state, file)


def weights_of(state: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """A state dict's weights under our names of them.

    Raises:
        LLMBoostError: there is anything else in it.
    """
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise LLMBoostError(f"{file}: holds no weights of a network")
    result = {}
    for name, tensor in state.items():
        for wrapper in _WRAPPERS:
            name = name.removeprefix(wrapper)
        if not name.endswith("relative_position_index"):  # follows from the sizes
            result[f"net.{name}"] = tensor
    return result
