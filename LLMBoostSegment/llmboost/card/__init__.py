"""The card of a model file: what the model is, what it takes and gives, read without torch.

A model file is one .safetensors file: eight bytes with the header's length (little endian), the header (JSON),
then the raw tensors. The header's ``__metadata__`` holds the card as JSON under ``llmboost_card``. Reading a card
costs one small read, so that a panel can list models at once; this module needs the standard library alone.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import LLMBoostError
from ..files import check_regular, printable, write_whole
from ..jsonfile import parse_json
from .figures import doubts
from .typed import check_types

FORMAT = 1
CROP = 1.25  # patches of the model: an image that extends further is no crop
METADATA_KEY = "llmboost_card"
MAX_HEADER_BYTES = 16 * 2**20

SEGMENTATION = "segmentation"
CLASSIFICATION = "classification"
DIGEST = re.compile("[0-9a-f]{64}")
MAX_BLOCKS = 16  # of looks, along an axis
INPUT_REGIONS = ("square", "center", "mask")
MAX_LABEL = 2**16 - 1  # label maps are of 16 bits
# fields of cards written before version 0.2, by the entry that they stand in
_FORMER_NAMES = {
    "preprocessing": {"window": "patch_size"},
    "network": {"window": "image_size", "fold": "unshuffle"},
    "classification": {"framing": "input_region"},
}
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # of a name, it would break files and lines


@dataclass(frozen=True)
class Code:
    """A coded concept, e.g. ``Code("SCT", "123037004", "Anatomical Structure")`` of SNOMED CT."""

    scheme: str
    value: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
TISSUE = Code("SCT", "85756007", "Tissue")
LEFT, RIGHT = Code("SCT", "7771000", "Left"), Code("SCT", "24028007", "Right")


@dataclass(frozen=True)
class Label:
    """One segment that a model draws: its voxel value, name, color (RGB, 0-255) and terminology.

    ``region`` and ``region_modifier`` tell the anatomic region that it belongs to, where ``type`` does not say all.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    category: Code = ANATOMICAL_STRUCTURE
    type: Code = TISSUE
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None


@dataclass(frozen=True)
class Normalization:
    """How intensities are brought to the network's range, per channel.

    ``zscore``: clip to the case's own percentiles (0.5, 99.5), subtract its mean, divide by its standard deviation.
    ``window``: clip to ``low``..``high``, subtract ``mean``, divide by ``std`` (CT: figures of the training set).
    """

    kind: str = "zscore"
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it.

    ``spacing`` in mm and ``patch_size`` in voxels are given along the canonical axes: to the patient's right, anterior,
    superior (R, A, S). ``mirror`` lists the axes (0, 1, 2) along which the anatomy may be mirrored. A patch of one
    voxel along one axis makes a 2D model, which takes an image slice by slice. ``color``: the three channels are red,
    green and blue of one color image.
    """

    channels: int = 1
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patch_size: tuple[int, int, int] = (64, 64, 64)
    normalization: tuple[Normalization, ...] = (Normalization(),)
    mirror: tuple[int, ...] = ()
    color: bool = False

    @property
    def slice_axis(self) -> int | None:
        """Of a 2D model, the axis (R, A, S: 0, 1, 2) across its slices."""
        return self.patch_size.index(1) if self.patch_size.count(1) == 1 else None


@dataclass(frozen=True)
class Subject:
    """What an image must show for a segmenter to draw in it (see :mod:`.subject`).

    Attributes:
        name: in words, such as "head".
        places: of labels by name, where their middles lie, along R, A, S from any point, and by how much that varies
            among images, all in mm. Found ones are shifted, turned and scaled to lie there as well as they can.
        fewest: how many of these must be in view.
        misfit: how far they then lie from there at most, in units of what it varies.
        scale: how large they are at least and at most, where 1 is usual.
        contrast: how much they differ in brightness at least: their quartiles, as a share of what lies between air and
            their median.
        rim: how bright, at most, the tissue around all that is found may be, in the same unit.
    """

    name: str
    places: dict[str, tuple[float, float, float, float]]
    fewest: int
    misfit: float
    scale: tuple[float, float]
    contrast: float
    rim: float


@dataclass(frozen=True)
class Quality:
    """From the Dice that a segmenter expects by its own probabilities to that which is likely (see :mod:`.quality`).

    Attributes:
        slope, intercept: of the line from the one to the other, fitted on validation cases.
        limit: the predicted mean Dice below which a case should be checked closely.
        figures: how well that predicts: errors and correlations on validation and test cases.
    """

    slope: float
    intercept: float
    limit: float
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A structure that a cascade looks closer at.

    Attributes:
        structure: the name of the localizer's label.
        side: of the body, which the labels found there are given; None leaves them as they are.
        mirror: the model sees this one mirrored, left to right.
    """

    structure: str
    side: Code | None = None
    mirror: bool = False


@dataclass(frozen=True)
class Cascade:
    """How a model that knows crops alone takes a larger image: another one finds first where to look.

    Attributes:
        localizer: that model's name in the library.
        targets: where to look; each one's crop is as large as the model's patch.
        subject: what the image must show, in words, such as "head".
        subject_ml: how large the largest connected piece of all the localizer's labels is, at least and at most, if the
            image shows that.
        target_ml: how large a target is, at least and at most, if it is in view.
        certainty: the mean probability that the localizer gives to what it found, at least, of the subject as of a
            target: elsewhere in the body, it finds things without being sure.
        quality: how good what is drawn in larger images probably is, where the card's own numbers are for crops.
    """

    localizer: str
    targets: tuple[Target, ...]
    subject: str
    subject_ml: tuple[float, float]
    target_ml: tuple[float, float]
    certainty: float = 0.0
    quality: Quality | None = None


@dataclass(frozen=True)
class Looks:
    """What the images look like that a classifier was trained on (see :mod:`.looks`): a Gaussian of their measures.

    Attributes:
        blocks: along each axis, within which brightness is measured; 0: it is not.
        numbers: base64 of float32 (little endian), of n measures: n offsets, and the rows of a triangular matrix.
        limit: the distance beyond which an image counts as another kind than the model knows.
    """

    blocks: int
    numbers: str
    limit: float


@dataclass(frozen=True)
class Classification:
    """What a classifier's outputs mean, beyond its labels.

    Attributes:
        input_region: what of an image comes into the patch: ``square``, the largest square in its middle, resized;
            ``center``, its middle at the card's spacing; ``mask``, the same around the middle of a mask.
        positive: the class that is looked for, by name, and whose probability the threshold is for; empty where none
            is special.
        thresholds: the probability from which the positive class, or with ``multi_label`` each class, is reported;
            chosen on validation cases.
        multi_label: the classes do not exclude each other.
        ordinal: the classes are grades, in order.
        temperature: divides the logits, so that probabilities say how often they are right (Guo et al. 2017, arXiv
            1706.04599); fitted on validation cases.
        range_limit: the distance from the training images (see :mod:`.networks.ood_score`) beyond which an image
            counts as another kind than the model knows; for files without ``looks``.
        looks: of the training images, which tell more surely than the network what is of another kind.
    """

    input_region: str = "square"
    positive: str = ""
    thresholds: tuple[float, ...] = ()
    multi_label: bool = False
    ordinal: bool = False
    temperature: float = 1.0
    range_limit: float = 0.0
    looks: Looks | None = None


@dataclass(frozen=True)
class Adapter:
    """What an adapted model's file needs: it holds only what differs from its base.

    Attributes:
        base, base_version: the name and version of the model that was adapted.
        base_digest: that model's digest; no other one will do.
        rank: of the low-rank updates.
        cases: SHA-256 digests of the files of each case that it has learned from, and nothing else of them.
        settings: how it was trained.
    """

    base: str
    base_version: str
    base_digest: str
    rank: int
    cases: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """Everything that a user, the panel and the engine know about a model without reading its weights.

    ``network`` and ``booster`` are the keyword arguments that rebuild the network; ``training`` tells data, license,
    steps and seed; ``figures`` holds measured results. ``cascade`` is for images larger than the crops that the network
    knows, ``subject`` for a model that draws in images of one subject alone.
    ``classification`` is a classifier's, ``adapter`` that of a model whose file needs its base's.
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
    cascade: Cascade | None = None
    subject: Subject | None = None
    classification: Classification | None = None
    adapter: Adapter | None = None
    quality: Quality | None = None
    license: str = ""
    citation: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    version: str = "1.0"
    digest: str = ""
    format: int = FORMAT

    @property
    def classes(self) -> int:
        """The number of output channels: the labels and, in a segmentation, the background."""
        return len(self.labels) + (self.task == SEGMENTATION)

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
            card = _card(raw)
            _check(card)
            return card
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise LLMBoostError(f"{source}: not a LLMBoost model (damaged card: {printable(str(error))})") from error


def same_name(name: str) -> str:
    """A label's name without what does not tell it from another: capitals, blanks."""
    return " ".join(name.casefold().split())


def _on_side(label: Label, side: Code | None) -> Label:
    if side is None:
        return label
    name = f"{side.meaning} {label.name[:1].lower()}{label.name[1:]}"
    if label.modifier is None:
        return dataclasses.replace(label, name=name, modifier=side)
    # terminologies have room for one modifier of the type; what stood there tells the part of the region
    return dataclasses.replace(label, name=name, modifier=side, region=label.type, region_modifier=label.modifier)


def _card(raw: dict[str, Any]) -> Card:
    def code(value: dict[str, str] | None) -> Code | None:
        return None if value is None else Code(**value)

    raw = dict(raw)
    for entry, names in _FORMER_NAMES.items():
        if raw.get(entry) is not None:
            raw[entry] = {names.get(name, name): value for name, value in raw[entry].items()}
    raw["labels"] = tuple(
        Label(
            **{
                **label,
                "color": tuple(label["color"]),
                "category": code(label["category"]),
                "type": code(label["type"]),
                **{name: code(label.get(name)) for name in ("modifier", "region", "region_modifier")},
            }
        )
        for label in raw["labels"]
    )
    steps = dict(raw["preprocessing"])
    for name in ("spacing", "patch_size", "mirror"):
        steps[name] = tuple(steps[name])
    steps["normalization"] = tuple(Normalization(**entry) for entry in steps["normalization"])
    raw["preprocessing"] = Preprocessing(**steps)
    if raw.get("cascade") is not None:
        cascade = dict(raw["cascade"])
        cascade["targets"] = tuple(Target(**{**one, "side": code(one["side"])}) for one in cascade["targets"])
        limits = {name: tuple(cascade[name]) for name in ("subject_ml", "target_ml")}
        if cascade.get("quality") is not None:
            cascade["quality"] = Quality(**cascade["quality"])
        raw["cascade"] = Cascade(**{**cascade, **limits})
    if raw.get("subject") is not None:
        subject = dict(raw["subject"])
        places = {name: tuple(place) for name, place in subject["places"].items()}
        raw["subject"] = Subject(**{**subject, "places": places, "scale": tuple(subject["scale"])})
    if raw.get("classification") is not None:
        meaning = dict(raw["classification"])
        looks = meaning.get("looks")
        parts = {"thresholds": tuple(meaning["thresholds"]), "looks": None if looks is None else Looks(**looks)}
        raw["classification"] = Classification(**{**meaning, **parts})
    if raw.get("quality") is not None:
        raw["quality"] = Quality(**raw["quality"])
    if raw.get("adapter") is not None:
        adapter = dict(raw["adapter"])
        raw["adapter"] = Adapter(**{**adapter, "cases": tuple(adapter["cases"])})
    return Card(**raw)


def _check(card: Card) -> None:
    """What the engine and the panel rely on without looking; raises ValueError."""

    def require(fine: bool, what: str) -> None:
        if not fine:
            raise ValueError(what)

    check_types(card)
    require(card.task in (SEGMENTATION, CLASSIFICATION), f"task {card.task}")
    for name in (card.name, *(label.name for label in card.labels)):
        require(not CONTROL.search(name), f"the name {name!r}")
    _check_labels(card, require)
    preprocessing = card.preprocessing
    require(min(preprocessing.spacing) > 0, f"spacing {preprocessing.spacing}")
    require(min(preprocessing.patch_size) > 0, f"window {preprocessing.patch_size}")
    require(set(preprocessing.mirror) <= {0, 1, 2}, f"mirror {preprocessing.mirror}")
    require(len(preprocessing.normalization) == preprocessing.channels, f"{preprocessing.channels} channels")
    require(preprocessing.channels == 3 or not preprocessing.color, "color takes three channels")
    for how in preprocessing.normalization:
        require(how.kind in ("zscore", "window") and how.std > 0, f"normalization {how}")
    if card.cascade is not None:
        _check_cascade(card, card.cascade, require)
    if card.subject is not None:
        _check_subject(card, card.subject, require)
    require((card.classification is not None) == (card.task == CLASSIFICATION), "classification")
    if card.classification is not None:
        _check_classification(card, card.classification, require)
    if card.adapter is not None:
        _check_adapter(card.adapter, require)


def _check_labels(card: Card, require: Callable[[bool, str], None]) -> None:
    """Each label has a value and a name of its own: results are told apart by both."""
    lowest = int(card.task == SEGMENTATION)
    values: dict[str, int] = {}
    for label in card.labels:
        require(lowest <= label.value <= MAX_LABEL, f"label value {label.value}")
        require(all(0 <= c <= 255 for c in label.color), f"color {label.color}")
        require(label.value not in values.values(), f"two labels have the value {label.value}")
        other = values.setdefault(same_name(label.name), label.value)
        require(other == label.value, f"values {other} and {label.value} are both called {label.name}")
    if card.cascade is not None and card.labels:
        highest = max(values.values()) * len(card.cascade.targets)
        require(highest <= MAX_LABEL, f"label value {highest}")


def _check_classification(card: Card, classification: Classification, require: Callable[[bool, str], None]) -> None:
    names = [label.name for label in card.labels]
    require(len(names) > 1 or classification.multi_label, "at least two classes")
    require(classification.input_region in INPUT_REGIONS, f"framing {classification.input_region}")
    require(classification.positive in ("", *names), f"positive class {classification.positive}")
    wanted = len(names) if classification.multi_label else int(bool(classification.positive))
    require(len(classification.thresholds) == wanted, f"{len(classification.thresholds)} thresholds")
    require(
        all(0 <= threshold <= 1 for threshold in classification.thresholds), f"thresholds {classification.thresholds}"
    )
    require(classification.temperature > 0, f"temperature {classification.temperature}")
    require(classification.range_limit >= 0, f"range limit {classification.range_limit}")
    if classification.looks is not None:
        _check_looks(classification.looks, require)


def _check_looks(looks: Looks, require: Callable[[bool, str], None]) -> None:
    require(0 <= looks.blocks <= MAX_BLOCKS, f"blocks {looks.blocks}")
    require(looks.limit > 0, f"limit {looks.limit}")
    data = base64.b64decode(looks.numbers, validate=True)
    measures = math.isqrt(len(data) // 2)  # n (n + 3) / 2 numbers of four bytes
    require(len(data) == 2 * measures * (measures + 3) or len(data) == 2 * (measures - 1) * (measures + 2), "looks")
    require(all(map(math.isfinite, struct.unpack(f"<{len(data) // 4}f", data))), "numbers of looks")


def _check_adapter(adapter: Adapter, require: Callable[[bool, str], None]) -> None:
    require(DIGEST.fullmatch(adapter.base_digest) is not None, f"base digest {adapter.base_digest}")
    require(adapter.rank >= 0, f"rank {adapter.rank}")


def _check_cascade(card: Card, cascade: Cascade, require: Callable[[bool, str], None]) -> None:
    texts = (cascade.localizer, cascade.subject, *(target.structure for target in cascade.targets))
    require(all(text and not CONTROL.search(text) for text in texts), "text expected")
    require(cascade.localizer != card.name, "a model cannot be its own localizer")
    sides = [target.side for target in cascade.targets]
    require(0 < len(set(sides)) == len(sides), "one target for each side")
    for low, high in (cascade.subject_ml, cascade.target_ml):
        require(0 < low < high, f"from {low} to {high} mL")
    require(0 <= cascade.certainty <= 1, f"certainty {cascade.certainty}")
    require(card.preprocessing.slice_axis is None, "a cascade needs a model of volumes")


def _check_subject(card: Card, subject: Subject, require: Callable[[bool, str], None]) -> None:
    require(bool(subject.name) and not CONTROL.search(subject.name), "text expected")
    volumes = card.task == SEGMENTATION and card.preprocessing.slice_axis is None
    require(volumes and card.cascade is None, "a subject needs a segmenter of volumes without a cascade")
    require(set(subject.places) <= {label.name for label in card.labels}, "places of the card's labels")
    require(4 <= subject.fewest <= len(subject.places), f"fewest {subject.fewest}")
    require(all(place[3] > 0 for place in subject.places.values()), "what places vary by")
    require(0 < subject.scale[0] < subject.scale[1], f"scale {subject.scale}")
    require(min(subject.misfit, subject.contrast, subject.rim) >= 0, "limits")


def read_card(path: str | Path) -> Card:
    """The card of the model file at ``path``; the weights are not read.

    Raises:
        LLMBoostError: the file is missing, truncated, no safetensors file, or not a LLMBoost model.
    """
    path = Path(path)
    metadata = read_header(path).get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise LLMBoostError(f"{path}: a safetensors file, but not a LLMBoost model (it carries no card)")
    return Card.from_json(text, str(path))


def write_card(path: Path, card: Card) -> None:
    """Give the model file at ``path`` another card; its tensors, and hence its digest, stay.

    Raises:
        LLMBoostError: no model file, or one with other tensors than the card's digest says.
    """
    header = read_header(path)
    if tensor_digest(path) != card.digest:
        raise LLMBoostError(f"{path}: the card belongs to other weights")
    header["__metadata__"] = {METADATA_KEY: card.to_json()}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    with path.open("rb") as file:
        start = _header(file, path)[1]
        file.seek(start)
        tensors = file.read()
    write_whole(path, struct.pack("<Q", len(text)) + text + tensors)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, checked against the file's size."""
    check_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header, start = _header(file, path)
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        ends = [_place(entry)[1] for key, entry in header.items() if key != "__metadata__"]
    except (TypeError, KeyError, ValueError) as error:
        raise LLMBoostError(f"{path}: damaged model file (its table of tensors cannot be read)") from error
    expected = start + max(ends, default=0)
    if size != expected:
        raise LLMBoostError(f"{path}: damaged model file ({size} bytes, {expected} expected); copy it again")
    return header


def _place(entry: dict[str, Any]) -> tuple[int, int]:
    """Where a tensor's first byte lies, and the one after its last, from the end of the header on."""
    low, high = entry["data_offsets"]
    if not (type(low) is type(high) is int and 0 <= low <= high and isinstance(entry["dtype"], str)):
        raise ValueError(f"a tensor from {low} to {high}")
    return low, high


def _header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise LLMBoostError(f"{path}: not a model file (.safetensors expected)")
    body = file.read(length)
    try:
        header = json.loads(body.decode())  # of bytes, json would take UTF-16, too
    except (ValueError, RecursionError) as error:
        raise LLMBoostError(f"{path}: not a model file, or a truncated one (.safetensors expected)") from error
    if len(body) != length or not isinstance(header, dict):
        raise LLMBoostError(f"{path}: not a model file, or a truncated one (.safetensors expected)")
    return header, 8 + length


def check_weights(path: Path, card: Card) -> None:
    """Raises LLMBoostError unless the file's tensors are those that its card was written with, and finite numbers."""
    if tensor_digest(path) != card.digest:
        raise LLMBoostError(f"{path}: damaged model file (its digest does not match its weights); copy it again")
    if broken := _not_finite(path):
        raise LLMBoostError(
            f"{path}: holds weights that are no numbers (NaN or infinite, in {printable(broken)}): a training that"
            " failed; train it again"
        )


def tensor_digest(path: Path) -> str:
    """SHA-256 (hex) of the tensor section of the safetensors file at ``path``."""
    with path.open("rb") as file:
        _header(file, path)
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _not_finite(path: Path) -> str:
    """The name of a tensor with a value that is NaN or infinite: all bits of its exponent are set."""
    import numpy as np  # not above: a card alone is read without

    exponents = {"F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80), "F32": (np.uint32, 0x7F800000)}
    with path.open("rb") as file:
        header, start = _header(file, path)
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] not in exponents:
                continue
            kind, exponent = exponents[entry["dtype"]]
            low, high = _place(entry)
            file.seek(start + low)
            width = np.dtype(kind).itemsize
            values = np.frombuffer(file.read((high - low) // width * width), kind)
            if ((values & exponent) == exponent).any():
                return str(name)
    return ""
