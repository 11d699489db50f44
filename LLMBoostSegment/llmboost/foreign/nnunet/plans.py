"""What nnU-Net's plans.json and dataset.json say of a model, in our card's words; what cannot be said so is refused.

nnU-Net reads a file as [z, y, x] and orders these axes by ``transpose_forward``; spacing, patch size, kernels and
strides are along those. Ours are [i, j, k], so each of our axes is one of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...card import RAS, STORED, Label, Normalization, Preprocessing, Tiling
from ...card.modality import term
from ...errors import LLMBoostError
from ...files import printable, visible
from ..translation import Unsupported, label
from .architecture import network_entry
from .folder import Results

_READERS = {"SimpleITKIO": STORED, "NibabelIO": STORED, "NibabelIOWithReorient": RAS}
_RESAMPLING = {"data": 3, "probabilities": 1}  # the orders of nnU-Net's own planners
_NORMALIZATIONS = {
    "RescaleTo01Normalization": Normalization("range"),
    "RGBTo01Normalization": Normalization("scale", std=255.0),
    "NoNormalization": Normalization("scale"),
}
_EPS = 1e-8
TILING = Tiling(places="even", average="logits", mirrorings="all")


@dataclass(frozen=True)
class Plan:
    """A configuration.

    Attributes:
        name: of its data set, such as "Dataset004_Hippocampus".
        configuration: such as "3d_fullres".
        axes: of each of our axes, which one it is of the network's; of a 2D network, 0 is across its slices.
        network: the card's entry, and ``preprocessing``, ``labels``, ``modality``, ``activation``.
        license: of the data, where that is told.
    """

    name: str
    configuration: str
    axes: tuple[int, int, int]
    network: dict[str, Any]
    preprocessing: Preprocessing
    labels: tuple[Label, ...]
    modality: str
    activation: str
    license: str


def read_plan(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], results: Results, training: Mapping[str, Any]
) -> Plan:
    """Translate a configuration's description.

    Args:
        plans, dataset: plans.json and dataset.json.
        training: what a checkpoint says of its own training: ``configuration``, and along which axes images may be
            mirrored.

    Raises:
        LLMBoostError: there is something in it that our engine does not do as nnU-Net does.
    """
    try:
        return _plan(plans, dataset, training)
    except Unsupported as error:
        raise LLMBoostError(f"{results.folder}: cannot be imported, {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, StopIteration) as error:
        reason = printable(f"{type(error).__name__}: {error}")
        raise LLMBoostError(f"{results.folder}: plans.json or dataset.json is damaged ({reason})") from error


def _plan(plans: Mapping[str, Any], dataset: Mapping[str, Any], training: Mapping[str, Any]) -> Plan:
    name = str(training["configuration"])
    configuration = _configuration(plans["configurations"], name)
    if configuration.get("previous_stage"):
        raise Unsupported(f"{name} is the second stage of a cascade, which is not supported yet")
    _check_processing(configuration)
    channels = list((dataset.get("channel_names") or dataset["modality"]).values())
    labels, activation = _labels(dataset)
    patch_size, spacing = list(configuration["patch_size"]), list(configuration["spacing"])
    flat = len(patch_size) == 2
    if flat:
        patch_size, spacing = [1, *patch_size], [_distance(plans), *spacing]
    forward = [int(axis) for axis in plans["transpose_forward"]]
    if sorted(forward) != [0, 1, 2] or len(patch_size) != 3:
        raise ValueError(f"axes {forward}")
    i, j, k = (forward.index(2 - axis) for axis in range(3))
    axes = (i, j, k)
    mirrored = {int(axis) + flat for axis in training.get("inference_allowed_mirroring_axes") or ()}
    preprocessing = Preprocessing(
        channels=len(channels),
        spacing=tuple(float(spacing[axis]) for axis in axes),  # type: ignore[arg-type]
        patch_size=tuple(int(patch_size[axis]) for axis in axes),  # type: ignore[arg-type]
        normalization=_normalizations(plans, configuration, len(channels)),
        mirror=tuple(own for own, axis in enumerate(axes) if axis in mirrored),
        orientation=_orientation(plans, dataset, flat),
        crop=True,
        resampling="cubic",
        normalize="before",
    )
    outputs = len(labels) + (activation == "softmax")
    words = dict.fromkeys(term(str(channel)) or printable(str(channel)) for channel in channels)
    return Plan(
        name=printable(str(plans["dataset_name"])),
        configuration=name,
        axes=axes,
        network=network_entry(configuration, len(channels), outputs, axes),
        preprocessing=preprocessing,
        labels=labels,
        modality=", ".join(words),
        activation=activation,
        license=visible(str(dataset.get("license") or dataset.get("licence") or "")),
    )


def _configuration(all_of_them: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with all that it takes over from others."""
    result: dict[str, Any] = {}
    heirs: list[str] = []
    while True:
        if name in heirs:
            raise ValueError(f"{name} inherits from itself")
        heirs.append(name)
        result = {**all_of_them[name], **result}
        parent = result.pop("inherits_from", None)
        if not parent:
            return result
        name = str(parent)


def _check_processing(configuration: Mapping[str, Any]) -> None:
    preprocessor = configuration.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise Unsupported(f"its preprocessing {printable(str(preprocessor))} is not nnU-Net's own")
    for what, order in _RESAMPLING.items():
        function = configuration.get(f"resampling_fn_{what}", "resample_data_or_seg_to_shape")
        options = configuration.get(f"resampling_fn_{what}_kwargs", {})
        usual = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
        if function != "resample_data_or_seg_to_shape" or {**usual, **options} != usual:
            raise Unsupported(
                f"its resampling {printable(str(function))} {printable(str(options))} is not the usual one"
            )


def _orientation(plans: Mapping[str, Any], dataset: Mapping[str, Any], flat: bool) -> str:
    reader = str(dataset.get("overwrite_image_reader_writer") or plans["image_reader_writer"])
    if reader not in _READERS:
        raise Unsupported(f"its images are read by {printable(reader)}, which is not supported")
    if flat and _READERS[reader] == RAS:
        raise Unsupported(f"a 2D network on images that {reader} turns is not supported")
    return _READERS[reader]


def _distance(plans: Mapping[str, Any]) -> float:
    """Between the slices of a 2D network's images, in mm, usually."""
    return float(plans.get("original_median_spacing_after_transp", [1.0])[0])


def _normalizations(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], channels: int
) -> tuple[Normalization, ...]:
    figures = plans.get("foreground_intensity_properties_per_channel")
    figures = figures or plans["foreground_intensity_properties_by_modality"]
    schemes, masked = configuration["normalization_schemes"], configuration["use_mask_for_norm"]
    result = []
    for n, (scheme, within) in enumerate(zip(schemes, masked, strict=True)):
        if scheme == "ZScoreNormalization":
            result.append(Normalization("standard-content" if within else "standard"))
        elif scheme == "CTNormalization":
            low, high, mean, std = (
                float(figures[str(n)][key]) for key in ("percentile_00_5", "percentile_99_5", "mean", "std")
            )
            result.append(Normalization("window", low, high, mean, max(std, _EPS)))
        elif scheme in _NORMALIZATIONS:
            result.append(_NORMALIZATIONS[scheme])
        else:
            raise Unsupported(f"its normalization {printable(str(scheme))} is not known")
    if len(result) != channels:
        raise ValueError(f"{channels} channels, {len(result)} normalizations")
    return tuple(result)


def _labels(dataset: Mapping[str, Any]) -> tuple[tuple[Label, ...], str]:
    """The labels in the order of the network's outputs, and what is made of these: "softmax" or "sigmoid"."""
    told = {str(name): value for name, value in dataset["labels"].items() if name != "ignore"}
    told = {name: sorted(set(value)) if isinstance(value, list) else [int(value)] for name, value in told.items()}
    named = {name: values for name, values in told.items() if values != [0]}
    if all(len(values) == 1 for values in named.values()):
        by_value = {values[0]: name for name, values in named.items()}
        values = sorted(by_value)
        if values != list(range(1, len(named) + 1)):
            raise Unsupported(f"its labels {values} are not numbered from 1 on")
        return tuple(label(n, by_value[n]) for n in values), "softmax"
    order = [int(value) for value in dataset["regions_class_order"]]
    regions = [(name, set(values)) for name, values in named.items()]
    names = [_visible_part(n, regions) for n in range(len(regions))]
    return tuple(label(value, name) for value, name in zip(order, names, strict=True)), "sigmoid"


def _visible_part(n: int, regions: Sequence[tuple[str, set[int]]]) -> str:
    """A region's name, or what is left of it where later ones are drawn over it."""
    name, own = regions[n]
    above = [(other, values) for other, values in regions[n + 1 :] if values & own]
    outer = [other for other, values in above if not any(values < more for _, more in above)]
    return f"{name} outside {', '.join(outer)}" if outer else name
