"""A bundle's network, as the entry of our card that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...files import printable
from ...networks.monai_network import KINDS, MonaiConfig, takes
from ..translation import Unsupported
from .config import Config, Opaque

# arguments of earlier versions of MONAI: weights that do not fit show where they made a difference
_FORMER = {
    "SwinUNETR": {"img_size"},
    "SegResNet": {"norm_name"},
    "UNETR": {"pos_embed"},
    "UNet": {"dimensions"},
}
_LEFT_OUT = {"pretrained", "progress", "use_checkpoint", "save_attn"}
_NETWORKS = ("network_def", "network", "net")


def network_arguments(config: Config) -> tuple[str, dict[str, Any]]:
    """The class and the arguments of a config's network.

    Raises:
        Unsupported: a network that is not known, or arguments that are not.
    """
    name = next((name for name in _NETWORKS if name in config), None)
    found = config.get(name) if name else None
    if not isinstance(found, dict) or "_target_" not in found:
        raise Unsupported("its config tells no network")
    return checked_arguments(found)


def checked_arguments(found: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class and the arguments of a network as a config writes it.

    Raises:
        Unsupported: a network that is not known, or arguments that are not.
    """
    target = str(found["_target_"])
    kind = target.rpartition(".")[2]
    if target.startswith("scripts."):
        raise Unsupported(f"its network is a program of its own ({printable(target)})")
    if kind == "TorchVisionFCModel":
        raise Unsupported("its network is one of torchvision's, which is not supported")
    if kind not in KINDS or (target != kind and not target.startswith("monai.networks.nets.")):
        raise Unsupported(f"its network {printable(target)} is not supported")
    arguments = {key: value for key, value in found.items() if not key.startswith("_")}
    dropped = (_FORMER.get(kind, set()) - takes(kind)) | _LEFT_OUT
    arguments = {key: value for key, value in arguments.items() if key not in dropped}
    if opaque := next((key for key, value in arguments.items() if _has_opaque(value)), None):
        raise Unsupported(f"its network {kind} has {printable(opaque)} {printable(str(arguments[opaque]))}")
    if unknown := sorted(set(arguments) - takes(kind)):
        raise Unsupported(f"its network {kind} has {printable(', '.join(unknown))}, which MONAI's today does not know")
    try:
        MonaiConfig(kind, arguments, across=2 if dimensions_of(kind, arguments) == 2 else None)
    except ValueError as error:
        raise Unsupported(f"its network {kind} is of no usual size ({printable(str(error))})") from error
    return kind, arguments


def dimensions_of(kind: str, arguments: Mapping[str, Any]) -> int:
    """2 or 3.

    Raises:
        Unsupported: anything else.
    """
    dimensions = arguments.get("spatial_dims", 2 if kind == "FlexibleUNet" else 3)
    if dimensions not in (2, 3):
        raise Unsupported(f"its network {kind} has {printable(str(dimensions))} dimensions")
    return int(dimensions)


def channels_of(kind: str, arguments: Mapping[str, Any]) -> tuple[int, int]:
    """How many channels a network takes, and how many outputs it has.

    Raises:
        Unsupported: that is not told.
    """
    counts = (
        arguments.get("in_channels", 3 if kind == "SEResNet50" else 1),
        arguments.get("num_classes" if kind == "SEResNet50" else "out_channels", 1000 if kind == "SEResNet50" else 2),
    )
    if not all(type(count) is int and 0 < count < 2**12 for count in counts):
        raise Unsupported(f"its network {kind} takes {printable(str(counts[0]))} channels")
    return counts


def _has_opaque(value: Any) -> bool:
    """Whether anything in it would have to be run: an expression, or a component."""
    if isinstance(value, dict):
        return "_target_" in value or any(map(_has_opaque, value.values()))
    return any(map(_has_opaque, value)) if isinstance(value, list) else isinstance(value, Opaque)
