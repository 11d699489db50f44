"""The networks by name. A new one is one file and one entry here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..booster import Booster, BoosterConfig, rebuild
from ..card import AVERAGES, ENSEMBLE
from ..errors import LLMBoostError
from .conv_unet import ConvUNet, ConvUNetConfig, ResidualUNetConfig
from .ensemble import MAX_MEMBERS, Ensemble
from .hybrid_vit import HybridViT, HybridViTConfig
from .monai_network import MonaiConfig, MonaiNetwork
from .peers import DynUNetConfig, Peer, SegResNetConfig, SwinUNETRConfig, UNETRConfig
from .plain_vit import PlainViT, PlainViTConfig
from .vit import ViT, ViT3DConfig, ViT3DTinyConfig, ViTConfig, ViTTinyConfig
from .vivit import ViViT, ViViTConfig, ViViTTinyConfig

SEGMENTERS: dict[str, tuple[type[nn.Module], type]] = {
    "hybrid-vit": (HybridViT, HybridViTConfig),
    "plain-vit": (PlainViT, PlainViTConfig),
}
CLASSIFIERS: dict[str, tuple[type[nn.Module], type]] = {
    "vit-s": (ViT, ViTConfig),
    "vit-tiny": (ViT, ViTTinyConfig),
    "vit3d": (ViT, ViT3DConfig),
    "vit3d-tiny": (ViT, ViT3DTinyConfig),
    "vivit": (ViViT, ViViTConfig),
    "vivit-tiny": (ViViT, ViViTTinyConfig),
}
PEERS: dict[str, tuple[type[nn.Module], type]] = {
    "dynunet": (Peer, DynUNetConfig),
    "segresnet": (Peer, SegResNetConfig),
    "swin-unetr": (Peer, SwinUNETRConfig),
    "unetr": (Peer, UNETRConfig),
}
# of models that other programs trained, see :mod:`..foreign`
IMPORTED: dict[str, tuple[type[nn.Module], type]] = {
    "plain-conv-unet": (ConvUNet, ConvUNetConfig),
    "residual-encoder-unet": (ConvUNet, ResidualUNetConfig),
    "monai": (MonaiNetwork, MonaiConfig),
}
NETWORKS = SEGMENTERS | CLASSIFIERS | PEERS | IMPORTED
DEFAULT_SEGMENTER = "hybrid-vit"


def build(name: str, options: Mapping[str, Any], booster: BoosterConfig | Mapping[str, Any] | None) -> nn.Module:
    """A network by name.

    Args:
        name: one of ``NETWORKS``, or ``ENSEMBLE``.
        options: fields of its config class that differ from the defaults; of an ensemble, ``members``, their number,
            ``average``, of what, and ``network``, the name and options of each.
        booster: a config, whose weights are fetched from their source; or a card's ``booster`` entry, which gives an
            empty one to be filled from the model file; or None.

    Raises:
        LLMBoostError: unknown name or option, or a source of weights that is not there.
    """
    if name == ENSEMBLE:
        return _ensemble(options, booster)
    if name not in NETWORKS:
        raise LLMBoostError(f"network '{name}' is unknown; use one of {', '.join(NETWORKS)}")
    network, config_class = NETWORKS[name]
    try:
        config = config_class(**{key: _tupled(value) for key, value in options.items()})
    except TypeError as error:
        raise LLMBoostError(f"network '{name}': {error}") from error
    if not booster:
        return network(config, None)
    if not hasattr(config, "width"):
        raise LLMBoostError(f"network '{name}' takes no booster; use booster 'none'")
    width = config.width
    made = Booster.pretrained(width, booster) if isinstance(booster, BoosterConfig) else rebuild(width, booster)
    return network(config, made)


def with_options(entry: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """A card's ``network`` entry with other options, ``classes`` among them, whatever the network calls that."""
    classes = options.get("classes")
    if "arguments" not in entry or classes is None:
        return {**entry, **options}
    arguments, outputs = entry["arguments"], entry["outputs"]
    if classes == (len(outputs) or arguments["out_channels"]):
        return dict(entry)
    return {**entry, "arguments": {**arguments, "out_channels": classes}, "outputs": ()}


def describe(network: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """The card's ``network`` and ``booster`` entries of a network made by :func:`build`."""
    if isinstance(network, Ensemble):
        member, entry = describe(network.members[0])
        options = {"members": len(network.members), "average": network.average, "network": member}
        return {"name": ENSEMBLE, **options}, entry
    config: Any = network.config
    kind = type(network), type(config)
    name = next(name for name, entry in NETWORKS.items() if entry == kind)
    booster: Any = network.booster
    return {"name": name, **dataclasses.asdict(config)}, {} if booster is None else booster.describe()


def _ensemble(options: Mapping[str, Any], booster: BoosterConfig | Mapping[str, Any] | None) -> Ensemble:
    count, own = options.get("members"), options.get("network")
    name = own.get("name") if isinstance(own, Mapping) else None
    if type(count) is not int or not 1 < count <= MAX_MEMBERS or name not in NETWORKS:
        raise LLMBoostError(
            f"network '{ENSEMBLE}' needs networks of one kind, 2 to {MAX_MEMBERS}; `llmboost models combine` makes one"
        )
    assert isinstance(own, Mapping)
    each = {key: value for key, value in own.items() if key != "name"}
    members = [build(str(name), each, booster) for _ in range(count)]
    return Ensemble(members, str(options.get("average", AVERAGES[0])))


def _tupled(value: Any) -> Any:
    """JSON has lists where configs have tuples."""
    return tuple(_tupled(entry) for entry in value) if isinstance(value, (list, tuple)) else value
