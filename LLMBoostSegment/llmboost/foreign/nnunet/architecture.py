"""The network that plans.json names, as an entry of our card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...files import printable
from ..translation import Unsupported

_NAMES = {"PlainConvUNet": "plain-conv-unet", "ResidualEncoderUNet": "residual-encoder-unet"}
_LAYERS = {  # nnU-Net's argument -> the layers that ours has
    "conv_op": ("Conv2d", "Conv3d"),
    "norm_op": ("InstanceNorm2d", "InstanceNorm3d"),
    "nonlin": ("LeakyReLU",),
}
_SIZES = {
    *("n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"),
    *("n_conv_per_stage_decoder", "conv_bias", "norm_op_kwargs", "nonlin_kwargs", "deep_supervision"),
}


def network_entry(configuration: Mapping[str, Any], channels: int, classes: int, axes: Sequence[int]) -> dict[str, Any]:
    """Name and options of :func:`..networks.build`.

    Args:
        configuration: of plans.json, of today or of before nnU-Net 2.4.
        axes: of each of our axes, which one it is of the network's.

    Raises:
        Unsupported: another network, or layers that ours does not have.
        LookupError, TypeError, ValueError: damaged.
    """
    kind, options = _architecture(configuration)
    if kind not in _NAMES:
        raise Unsupported(f"its network {printable(kind)} is not supported; {' and '.join(_NAMES)} are")
    for name, value in options.items():
        layer = str(value).rpartition(".")[2]
        if name in _SIZES or (name in _LAYERS and layer in _LAYERS[name]) or not value:
            continue  # nothing, as of dropout, is the usual
        raise Unsupported(f"a network with {printable(name)} {printable(layer)} is not supported")
    stages = int(options["n_stages"])
    blocks = options["n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"]
    norm, activation = options.get("norm_op_kwargs") or {}, options.get("nonlin_kwargs") or {}
    return {
        "name": _NAMES[kind],
        "channels": channels,
        "classes": classes,
        "features": _each(options["features_per_stage"], stages),
        "kernels": [_turned(size, axes) for size in options["kernel_sizes"]],
        "strides": [_turned(size, axes) for size in options["strides"]],
        "blocks": _each(blocks, stages),
        "decoder_convs": _each(options["n_conv_per_stage_decoder"], stages - 1),
        "bias": bool(options["conv_bias"]),
        "eps": float(norm.get("eps", 1e-5)),
        "affine": bool(norm.get("affine", False)),
        "slope": float(activation.get("negative_slope", 0.01)),
    }


def _architecture(configuration: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The network's name and options."""
    if "architecture" in configuration:
        entry = configuration["architecture"]
        return str(entry["network_class_name"]).rpartition(".")[2], entry["arch_kwargs"]
    kind, convs = str(configuration["UNet_class_name"]), configuration["n_conv_per_stage_encoder"]
    base, most = int(configuration["UNet_base_num_features"]), int(configuration["unet_max_num_features"])
    return kind, {
        "n_stages": len(convs),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(convs))],
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage": convs,
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    }


def _each(value: Any, count: int) -> list[int]:
    """One number for each of ``count`` stages, or the numbers that are there."""
    return [int(one) for one in value] if isinstance(value, list) else [int(value)] * count


def _turned(size: Any, axes: Sequence[int]) -> list[int]:
    """A size along the network's axes, in our order."""
    sizes = [int(one) for one in size] if isinstance(size, list) else [int(size)] * 3
    sizes = [1] * (3 - len(sizes)) + sizes
    return [sizes[axis] for axis in axes]
