"""The booster: a frozen block of a language model between two trained linear adapters, as a layer of an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LLMBoostError
from .block import BlockShape, LanguageModelBlock
from .sources import INITS, load_blocks
from .weights import BlockWeights

RESIDUALS = ("none", "inner", "outer", "hybrid")
PLACES = ("head", "middle", "tail")
STATES = ("frozen", "lora", "full")
LANGUAGE_MODEL = "language-model"
BLOCKS = (LANGUAGE_MODEL, "identity", "linear", "mlp")
NO_BOOSTER = "none"
KEPT = 0.5  # the share of training images that an auxiliary branch sees


@dataclass(frozen=True)
class BoosterConfig:
    """What boosts a network, and how.

    Attributes:
        source: where the block comes from, see :func:`.sources.load_blocks`.
        layers: the language model's layers, applied one after the other; where none is named, the one two thirds of
            the way up.
        init: ``pretrained``, or one of the controls ``random`` (spectrum-matched) and ``shuffled`` (row by row).
        state: ``frozen``; ``lora`` (PEFT, low-rank updates of the block's attention); ``full`` (the block learns).
        residual: ``none``, ``inner``, ``outer`` or ``hybrid`` (R-LLM, arXiv 2403.17343).
        place: before (``head``), amid (``middle``) or after (``tail``) the encoder's transformer blocks.
        scale: ``natural`` normalizes the tokens and rescales what enters the block to the root mean square that its
            layer knows from the language model; ``none`` leaves the scale alone, as both papers' released code does.
        rank: of the low-rank updates.
        seed: of random or shuffled weights.
        block: what stands between the adapters: the ``language-model``'s blocks, or a control with the same adapters:
            ``identity`` (nothing, but the norm after it stays), ``linear`` (nothing at all, R-LLM's control) or ``mlp``
            (GELU and LayerNorm, LM4VisualEncoding's control).
        auxiliary: the branch serves training alone, as another path of gradients (after Bai et al., AAAI 2025): it sees
            half of the training images, and afterwards tokens pass unchanged. Needs an outer residual.
    """

    source: str = "smollm2"
    layers: tuple[int, ...] = ()
    init: str = "pretrained"
    state: str = "frozen"
    residual: str = "outer"
    place: str = "tail"
    scale: str = "natural"
    rank: int = 4
    seed: int = 0
    block: str = LANGUAGE_MODEL
    auxiliary: bool = False

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.init, INITS),
            (self.block, BLOCKS),
            (self.state, STATES),
            (self.residual, RESIDUALS),
            (self.place, PLACES),
            (self.scale, ("natural", "none")),
        ):
            if value not in allowed:
                raise ValueError(f"booster: '{value}' is none of {', '.join(allowed)}")
        if self.block != LANGUAGE_MODEL and self.state != "frozen":
            raise ValueError(f"booster: state '{self.state}', but the block '{self.block}' has nothing to learn by it")
        if self.auxiliary and not self.outer:
            raise ValueError(f"booster: an auxiliary branch needs an outer residual, not '{self.residual}'")

    @property
    def outer(self) -> bool:
        """Whether a residual carries the tokens around all of it."""
        return self.residual in ("outer", "hybrid")

    def position(self, depth: int) -> int:
        """After how many of an encoder's ``depth`` transformer blocks the booster stands."""
        return {"head": 0, "middle": depth // 2, "tail": depth}[self.place]


def booster_of(name: str, *, seed: int = 0, **details: Any) -> BoosterConfig | None:
    """What boosts a network, by the name that a user gives: ``none``, ``smollm2``, ``random``, a folder, ``hub:NAME``.

    Args:
        details: fields of :class:`BoosterConfig`.

    Raises:
        LLMBoostError: there is no such value of one of ``details``.
    """
    if name == NO_BOOSTER:
        return None
    source, init = ("smollm2", "random") if name == "random" else (name, "pretrained")
    try:
        return BoosterConfig(source, init=init, seed=seed, **details)
    except ValueError as error:
        raise LLMBoostError(str(error)) from error


class Booster(nn.Module):
    """Tokens (B, T, width) in and out, through a language model's block LLM of another width.

    With h = W1 z, and LLM ending in a root-mean-square norm without weights (as in the papers' released code):

    ========  ===============================
    none      z' = W2 LLM(h)
    inner     z' = W2 (LLM(h) + h)
    outer     z' = W2 LLM(h) + z
    hybrid    z' = W2 (LLM(h) + h) + z
    ========  ===============================

    (R-LLM, arXiv 2403.17343; ``none`` is LM4VisualEncoding's, arXiv 2310.12973.) W2 starts at zero where an outer
    residual carries z, so that the boosted network starts as its host. Gradients pass the frozen block; they never
    change it. Controls (``config.block``) have no ``blocks``, and adapters of the same sizes.
    """

    def __init__(
        self,
        width: int,
        config: BoosterConfig,
        shape: BlockShape,
        blocks: Sequence[LanguageModelBlock],
        natural_rms: float,
    ) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.natural_rms = natural_rms
        self.q4 = any(block.q4 for block in blocks)
        self.description = ""  # whose weights the blocks hold, and their license
        self.norm = nn.LayerNorm(width) if config.scale == "natural" else nn.Identity()
        self.adapter_in = nn.Linear(width, self.shape.width, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.mlp = nn.Sequential(nn.GELU(), nn.LayerNorm(shape.width)) if config.block == "mlp" else nn.Identity()
        self.adapter_out = nn.Linear(self.shape.width, width, bias=False)
        if config.outer:
            nn.init.zeros_(self.adapter_out.weight)
        for block in blocks:
            block.freeze(config.state != "full")

    @classmethod
    def pretrained(cls, width: int, config: BoosterConfig) -> Booster:
        """A new booster for tokens of ``width``, its blocks filled from ``config.source``."""
        weights = load_blocks(config.source, config.layers, init=config.init, seed=config.seed)
        return cls.from_weights(width, replace(config, source=weights.source, layers=weights.layers), weights)

    @classmethod
    def from_weights(cls, width: int, config: BoosterConfig, weights: BlockWeights) -> Booster:
        """A new booster whose blocks take over ``weights``: a large block is never in memory twice.

        A control takes their shape alone.
        """
        if config.block != LANGUAGE_MODEL:
            booster = cls(width, config, weights.shape, (), weights.natural_rms)
            booster.description = f"control without a language model ({config.block}), sized as {weights.description}"
            return booster
        # a block that learns cannot stay in 4 bits
        q4 = weights.q4 and config.state == "frozen"
        with torch.device("meta"):
            blocks = [LanguageModelBlock(weights.shape, q4=q4) for _ in config.layers]
        for block, state in zip(blocks, (weights if q4 else weights.unpacked()).states, strict=True):
            block.load_state_dict(state, assign=True)
        booster = cls(width, config, weights.shape, blocks, weights.natural_rms)
        booster.description = weights.description
        if config.state == "lora":
            booster._add_lora()
        return booster

    def forward(self, z: Tensor) -> Tensor:
        if self.config.auxiliary and not self.training:
            return z
        h = self.adapter_in(self.norm(z))  # (B, T, the block's width)
        y = self._between(h)
        if self.config.residual in ("inner", "hybrid"):
            y = y + h
        y = self.adapter_out(y)
        if self.config.auxiliary:
            y = y * torch.bernoulli(y.new_full((len(y), 1, 1), KEPT))
        return y + z if self.config.outer else y

    def _between(self, h: Tensor) -> Tensor:
        if self.config.block == "linear":
            return h
        if self.config.block == "mlp":
            return self.mlp(h)
        y = self.blocks(self.natural(h))
        return F.rms_norm(y, y.shape[-1:], eps=self.shape.eps)

    def natural(self, h: Tensor) -> Tensor:
        """Tokens (B, T, the block's width) at the scale that the block knows; with ``scale`` none, as they are."""
        if self.config.scale == "none":
            return h
        return self.natural_rms * F.rms_norm(h, h.shape[-1:], eps=self.shape.eps)

    def _add_lora(self) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        rank = self.config.rank
        lora = LoraConfig(r=rank, lora_alpha=rank, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
        inject_adapter_in_model(lora, self.blocks)

    def merge_lora(self) -> None:
        """Fold low-rank updates into the block's weights, so that a saved model needs no PEFT."""
        for parent in list(self.blocks.modules()):
            for name, child in list(parent.named_children()):
                if hasattr(child, "merge") and hasattr(child, "get_base_layer"):
                    layer: Any = child
                    layer.merge()
                    setattr(parent, name, layer.get_base_layer())

    def describe(self) -> dict[str, Any]:
        """The card's ``booster`` entry: what :func:`rebuild` needs to make this module again without a source."""
        return {
            **asdict(self.config),
            "layers": list(self.config.layers),
            "shape": asdict(self.shape),
            "natural_rms": self.natural_rms,
            "q4": self.q4,
            "description": self.description,
        }


def rebuild(width: int, description: Mapping[str, Any]) -> Booster:
    """An empty booster of a model file, to be filled by the file's tensors."""
    entries = dict(description)
    shape, q4, natural_rms = BlockShape(**entries.pop("shape")), entries.pop("q4"), entries.pop("natural_rms")
    source = entries.pop("description", "")
    config = BoosterConfig(**{**entries, "layers": tuple(entries["layers"])})
    layers = config.layers if config.block == LANGUAGE_MODEL else ()
    booster = Booster(width, config, shape, [LanguageModelBlock(shape, q4=q4) for _ in layers], natural_rms)
    booster.description = source
    return booster
