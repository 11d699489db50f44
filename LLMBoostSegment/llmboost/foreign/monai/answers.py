"""How a bundle goes over an image and what it makes of the network's outputs, in our card's words."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from ...card import Tiling
from ...files import printable
from ..translation import Unsupported
from .config import Config, Opaque
from .steps import Step, steps_of

_NOTHING_TO_DO = {"SaveImage", "ToTensor", "ToDevice", "ToNumpy", "EnsureType", "SaveClassification", "CastToType"}
_SLIDING = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer")
LARGEST = 4096  # voxels of a patch's side


@dataclass(frozen=True)
class Inferer:
    """How the network goes over an image.

    Attributes:
        tiling: as the card says it.
        patch: sizes along the network's axes; empty where it sees all at once.
        across: of one that goes slice by slice, the axis across them.
    """

    tiling: Tiling
    patch: tuple[int, ...] = ()
    across: int | None = None


@dataclass(frozen=True)
class Answer:
    """What is made of the network's outputs.

    Attributes:
        activation: "softmax" or "sigmoid".
        back: of :class:`..card.Tiling`.
        pieces: the labels of which the largest piece is kept; None: all of them, and () none.
        drawn: of a sigmoid's outputs, their numbers in the order in which they are drawn over each other, and the label
            of each; empty where that is not told.
    """

    activation: str = "softmax"
    back: str = "averaged"
    pieces: tuple[int, ...] | None = ()
    drawn: tuple[tuple[int, int], ...] = ()


def read_inferer(config: Config, dimensions: int) -> Inferer:
    """How the inferer of a config goes over images.

    Args:
        dimensions: of the network.

    Raises:
        Unsupported: otherwise than our engine does.
    """
    found = steps_of(config, "inferer")
    if len(found) != 1:
        raise Unsupported("its config has no inferer")
    (step,) = found
    whole = Tiling(places="whole", average="logits", weight="constant")
    if step.name == "SimpleInferer":
        step.only()
        return Inferer(whole)
    if step.name not in _SLIDING:
        raise Unsupported(f"its inferer {printable(step.name)} is not supported")
    step.only(
        *("roi_size", "sw_batch_size", "overlap", "mode", "padding_mode", "cval", "sw_device", "device", "progress"),
        *("cache_roi_weight_map", "cpu_thresh", "buffer_steps", "buffer_dim", "sigma_scale", "spatial_dim"),
    )
    if step.number("cval", 0) or step.number("sigma_scale", 0.125) != 0.125:
        raise Unsupported(f"its inferer {step.name} with such a cval or sigma_scale is not supported")
    flat = step.name == "SliceInferer"
    if flat and dimensions != 2:
        raise Unsupported("its inferer goes slice by slice, but its network takes volumes")
    sizes = step.numbers("roi_size", dimensions)
    if all(size <= 0 for size in sizes):
        return Inferer(whole)
    if not all(size == int(size) and 0 < size <= LARGEST for size in sizes):
        raise Unsupported(f"its patches are of {printable(str(sizes))} voxels")
    overlap = step.number("overlap", 0.25)
    if isinstance(each := step.value("overlap"), list) and len(set(each)) > 1:
        raise Unsupported("its patches overlap differently along each axis")
    if not 0 <= overlap < 1:
        raise Unsupported(f"its patches overlap by {overlap:g}")
    padding = step.one_of("padding_mode", ("constant", "replicate"), "constant")
    tiling = Tiling(
        overlap=overlap,
        average="logits",
        weight=step.one_of("mode", ("constant", "gaussian"), "constant"),
        padding="zero" if padding == "constant" else padding,
    )
    across = int(step.number("spatial_dim", 0)) if flat else None
    if across not in (None, 0, 1, 2):
        raise Unsupported(f"its slices lie across axis {across}")
    return Inferer(tiling, tuple(int(size) for size in sizes), across)


def read_answer(config: Config, outputs: int, *, changed: bool) -> Answer:
    """What the postprocessing of a config makes of the network's outputs.

    Args:
        outputs: how many there are.
        changed: whether the network sees images on another grid than they are stored on.

    Raises:
        Unsupported: something that our engine does not.
    """
    answer, active, decided, inverted = Answer(), "", False, False
    prediction = None
    for step in steps_of(config, "postprocessing"):
        prediction = step.keys[0] if prediction is None and step.keys else prediction
        if step.keys and prediction not in step.keys:
            continue  # of what is no prediction, such as a label that is saved beside it
        if step.kind in _NOTHING_TO_DO:
            continue
        if step.kind == "Activations":
            step.only("sigmoid", "softmax", "dim", "other")
            if step.arguments.get("other") is not None or decided:
                raise Unsupported("its outputs are made into probabilities in a way of its own")
            active = "sigmoid" if step.flag("sigmoid") else "softmax" if step.flag("softmax") else active
        elif step.kind == "Invert":
            inverted = True
            by_class = decided or (changed and step.flag("nearest_interp", default=True))
            answer = _with(answer, back="classes" if by_class else "probabilities" if active else "averaged")
        elif step.kind == "AsDiscrete":
            step.only("argmax", "to_onehot", "threshold", "rounding", "dim", "keepdim", "dtype")
            decided = True
            if step.first("threshold") is not None:
                if step.number("threshold") != (0.5 if active == "sigmoid" else 0.0):
                    raise Unsupported(f"its threshold {step.number('threshold'):g} is not supported")
                active = "sigmoid"
        elif step.kind == "KeepLargestConnectedComponent":
            answer = _with(answer, pieces=_pieces(step))
            if inverted and answer.back == "classes" and changed:
                raise Unsupported("its pieces are chosen after its labels were brought back to the image")
        elif step.kind == "Lambda":
            answer = _with(answer, drawn=_merged(step, outputs, active))
        else:
            own = "needs a program of its own" if step.name.startswith("scripts.") else "is not supported"
            raise Unsupported(f"its postprocessing {printable(step.name)} {own}")
    if changed and not inverted:
        answer = _with(answer, back="classes")
    if answer.back == "averaged" and active and not changed:
        answer = _with(answer, back="probabilities")
    return _with(answer, activation=active or "softmax")


def _with(answer: Answer, **entries: object) -> Answer:
    return replace(answer, **entries)  # type: ignore[arg-type]


def _pieces(step: Step) -> tuple[int, ...] | None:
    step.only("applied_labels", "independent", "is_onehot", "connectivity", "num_components")
    connectivity = step.first("connectivity")
    if connectivity not in (None, 3) or step.number("num_components", 1) != 1:
        raise Unsupported(f"its {step.name} keeps other pieces than the largest one")
    labels = step.value("applied_labels")
    labels = labels if isinstance(labels, list) or labels is None else [labels]
    if labels is not None and not all(type(value) is int and value > 0 for value in labels):
        raise Unsupported(f"its {step.name} is for labels {printable(str(labels))}")
    if not step.flag("independent", default=True) and (labels is None or len(labels) > 1):
        raise Unsupported(f"its {step.name} takes several labels together")
    return None if labels is None else tuple(labels)


def _merged(step: Step, outputs: int, active: str) -> tuple[tuple[int, int], ...]:
    """Of a Lambda that draws overlapping outputs over each other, in which order; of one that leaves the background of
    several classes away, nothing."""
    function = step.arguments.get("func")
    text = function.text if isinstance(function, Opaque) else ""
    try:
        match ast.parse(text, mode="eval").body:
            case ast.Lambda(args=ast.arguments(args=[ast.arg(arg=name)]), body=body):
                order = _order(body, name)
                if order and active == "sigmoid" and sorted(n for n, _ in order) == list(range(outputs)):
                    return tuple(reversed(order))
                if order == [] and active != "sigmoid":
                    return ()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise Unsupported(f"its postprocessing {printable(text or str(function))} is not understood")


def _order(body: ast.expr, name: str) -> list[tuple[int, int]] | None:
    """Of ``torch.where(x[[2]] > 0, 4, torch.where(...))``, which output gets which value, the topmost first; of
    ``x[1:]``, nothing; of all else, None."""
    match body:
        case ast.Constant(value=0):
            return []
        case ast.Subscript(
            value=ast.Name(id=own), slice=ast.Slice(lower=ast.Constant(value=1), upper=None, step=None)
        ) if own == name:
            return []
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="torch"), attr="where"),
            args=[
                ast.Compare(
                    left=ast.Subscript(value=ast.Name(id=own), slice=ast.List(elts=[ast.Constant(value=int(output))])),
                    ops=[ast.Gt()],
                    comparators=[ast.Constant(value=0)],
                ),
                ast.Constant(value=int(value)),
                rest,
            ],
            keywords=[],
        ) if own == name and value > 0:
            below = _order(rest, name)
            return None if below is None else [(output, value), *below]
    return None
