"""A bundle's preprocessing, in our card's words; what cannot be said so is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...card import ORIENTATIONS, RAS, STORED, Foreground, Normalization
from ...files import printable
from ..translation import Unsupported
from .config import Config
from .steps import Step, steps_of

_NOTHING_TO_DO = {
    *("LoadImage", "EnsureChannelFirst", "AsChannelFirst", "AddChannel", "EnsureType", "CastToType", "ToTensor"),
    *("ToDevice", "ToNumpy"),
}
# said in words, for their names alone do not tell a user
_REASONS = {
    "scripts.": "a program of its own",
    "Guidance": "clicks, which are an input of its network",
    "Click": "clicks, which are an input of its network",
}


@dataclass
class Plan:
    """What happens to an image before the network sees it, as :class:`..card.Preprocessing` says it.

    Attributes:
        steps: of intensities, of all channels alike.
        resized: the sizes that an image is resized to.
        own: steps go by the figures of each channel; None where it makes no difference.
    """

    orientation: str = STORED
    resampling: str = "none"
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resized: tuple[int, ...] = ()
    normalize: str = "after"
    steps: list[Normalization] = field(default_factory=list)
    foreground: Foreground | None = None
    own: bool | None = None

    def by_channel(self, own: bool, step: Step) -> None:
        """Note whether a step goes by each channel's own figures."""
        if self.own is not None and self.own != own:
            raise Unsupported(f"its preprocessing {step.name} goes by channels otherwise than the step before it")
        self.own = own


def read_preprocessing(config: Config) -> Plan:
    """What the preprocessing of a config does.

    Raises:
        Unsupported: it does what our engine does not, or in another order.
    """
    plan, image = Plan(), None
    for step in steps_of(config, "preprocessing"):
        image = step.keys[0] if image is None and step.keys else image
        others = [key for key in step.keys if key not in (image, "label")]
        reader = _READERS.get(step.kind)
        if reader is None and step.kind not in _NOTHING_TO_DO:
            reason = next((why for mark, why in _REASONS.items() if mark in step.name), "")
            raise Unsupported(
                f"its preprocessing needs {reason} ({printable(step.name)})"
                if reason
                else f"its preprocessing {printable(step.name)} is not supported"
            )
        if others or (reader and image not in step.keys):
            raise Unsupported(f"a case is several images by name ({printable(', '.join(map(str, step.keys)))})")
        if reader:
            reader(step, plan)
    if plan.foreground and plan.foreground.when == "first" and plan.resampling == "fit":
        raise Unsupported("its preprocessing crops images before it resizes them")
    return plan


def _orientation(step: Step, plan: Plan) -> None:
    step.only("axcodes", "as_closest_canonical", "labels")
    codes = step.value("axcodes")
    codes = "".join(codes) if isinstance(codes, list) else codes
    if step.flag("as_closest_canonical"):
        codes = RAS
    if codes not in ORIENTATIONS:
        raise Unsupported(f"its images are turned to {printable(str(codes))}, which are no axis codes such as RAS")
    if plan.resampling != "none":
        raise Unsupported("its images are turned after they are resampled")
    plan.orientation = codes


def _spacing(step: Step, plan: Plan) -> None:
    step.only("pixdim", "mode", "padding_mode", "dtype", "image_only", "ensure_same_shape")
    step.one_of("mode", ("bilinear",), "bilinear")
    step.one_of("padding_mode", ("border",), "border")
    r, a, s = step.numbers("pixdim", 3)
    if min(r, a, s) <= 0:
        raise Unsupported(f"its preprocessing {step.name} keeps the spacing along an axis (pixdim {r}, {a}, {s})")
    _resampled(step, plan)
    plan.resampling, plan.spacing = "linear", (r, a, s)


def _resize(step: Step, plan: Plan) -> None:
    step.only("spatial_size", "size_mode", "mode", "align_corners", "dtype", "image_only")
    step.one_of("mode", ("bilinear", "trilinear"), "area")
    step.one_of("size_mode", ("all",), "all")
    if step.value("align_corners"):
        raise Unsupported(f"its preprocessing {step.name} with align_corners is not supported")
    sizes = step.value("spatial_size")
    if not isinstance(sizes, list) or not all(isinstance(size, int) and 0 < size < 2**14 for size in sizes):
        raise Unsupported(f"its preprocessing {step.name} has spatial_size {printable(str(sizes))}")
    _resampled(step, plan)
    plan.resampling, plan.resized = "fit", tuple(sizes)


def _resampled(step: Step, plan: Plan) -> None:
    if plan.resampling != "none" or (plan.foreground and plan.foreground.when == "last"):
        raise Unsupported(f"its preprocessing {step.name} comes after it cropped or resampled images already")
    if plan.steps:
        plan.normalize = "before"


def _crop(step: Step, plan: Plan) -> None:
    step.only(
        "source_key", "select_fn", "margin", "allow_smaller", "mode", "k_divisible", "start_coord_key", "end_coord_key"
    )
    if step.arguments.get("select_fn") is not None or step.value("k_divisible", 1) not in (1, [1, 1, 1]):
        raise Unsupported(f"its preprocessing {step.name} chooses in its own way what is seen")
    margin = step.number("margin", 0)
    if margin and not step.flag("allow_smaller"):
        raise Unsupported(f"its preprocessing {step.name} pads images (margin {margin:g} without allow_smaller)")
    if plan.foreground:
        raise Unsupported("its preprocessing crops images twice")
    first = not plan.steps and plan.resampling == "none"
    plan.foreground = Foreground(margin=int(margin), when="first" if first else "last")


def _normalized(step: Step, plan: Plan, *what: Normalization) -> None:
    if plan.foreground and plan.foreground.when == "last":
        raise Unsupported(f"its preprocessing {step.name} comes after it cropped images")
    if plan.steps and plan.normalize == "before":
        raise Unsupported(f"its intensities change before and after images are resampled ({step.name})")
    plan.steps += what


def _range(step: Step, plan: Plan) -> None:
    step.only("a_min", "a_max", "b_min", "b_max", "clip", "dtype")
    low, high = step.number("a_min"), step.number("a_max")
    _normalized(step, plan, *_scaled(step, low, high, step.flag("clip")))


def _scaled(step: Step, low: float, high: float, clip: bool) -> list[Normalization]:
    """From ``low`` at b_min to ``high`` at b_max."""
    bottom, top = (None, None) if step.first("b_min") is None else (step.number("b_min"), step.number("b_max"))
    bottom, top = (0.0, 1.0) if bottom is None or top is None else (bottom, top)
    if not low < high or not bottom < top:
        raise Unsupported(f"its preprocessing {step.name} maps {low:g}..{high:g} to {bottom:g}..{top:g}")
    std = (high - low) / (top - bottom)
    mean = low - bottom * std
    return [Normalization("window", low, high, mean, std) if clip else Normalization("scale", mean=mean, std=std)]


def _minmax(step: Step, plan: Plan) -> None:
    step.only("minv", "maxv", "channel_wise", "dtype")
    low, high = step.number("minv", 0.0), step.number("maxv", 1.0)
    if not low < high:
        raise Unsupported(f"its preprocessing {step.name} goes from {low:g} to {high:g}")
    plan.by_channel(step.flag("channel_wise"), step)
    std = 1 / (high - low)
    usual = (low, high) == (0.0, 1.0)
    _normalized(
        step, plan, Normalization("range"), *([] if usual else [Normalization("scale", mean=-low * std, std=std)])
    )


def _standard(step: Step, plan: Plan) -> None:
    step.only("nonzero", "channel_wise", "subtrahend", "divisor", "dtype")
    nonzero = step.flag("nonzero")
    mean, std = step.value("subtrahend"), step.value("divisor")
    if mean is None and std is None:
        plan.by_channel(step.flag("channel_wise"), step)
        _normalized(step, plan, Normalization("standard-nonzero" if nonzero else "standard"))
        return
    if nonzero or isinstance(mean, list) or isinstance(std, list) or None in (mean, std):
        raise Unsupported(f"its preprocessing {step.name} with a subtrahend or divisor of such a kind is not supported")
    if step.number("divisor") <= 0:
        raise Unsupported(f"its preprocessing {step.name} divides by {std}")
    _normalized(step, plan, Normalization("scale", mean=step.number("subtrahend"), std=step.number("divisor")))


def _percentiles(step: Step, plan: Plan) -> None:
    step.only("lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise", "dtype")
    if step.flag("relative"):
        raise Unsupported(f"its preprocessing {step.name} with relative is not supported")
    low, high = step.number("lower"), step.number("upper")
    if not 0 <= low < high <= 100:
        raise Unsupported(f"its preprocessing {step.name} has percentiles {low:g} and {high:g}")
    plan.by_channel(step.flag("channel_wise"), step)
    _normalized(step, plan, Normalization("percentiles", low, high), *_scaled(step, 0.0, 1.0, step.flag("clip")))


_READERS: dict[str, Callable[[Step, Plan], Any]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "Resize": _resize,
    "CropForeground": _crop,
    "ScaleIntensityRange": _range,
    "ScaleIntensity": _minmax,
    "NormalizeIntensity": _standard,
    "ScaleIntensityRangePercentiles": _percentiles,
}
