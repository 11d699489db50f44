"""Frozen linear layers whose file form is the 4-bit form of their source (GGUF Q4_1).

Q4_1 stores 32 neighboring weights of a row in 20 bytes: scale d and minimum m (float16, little endian), then 16 bytes
with two 4-bit codes q each, the low halves being weights 0-15 and the high halves 16-31; weight = d * q + m. A block of
SmolLM2-135M takes 2.2 MB so, against 7.1 MB in float16, and nothing is lost: these are the published weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WEIGHTS = 32
BYTES = 20


def unpack_q4_1(packed: Tensor) -> Tensor:
    """Weights (rows, columns) in float32 of ``packed`` (rows, columns / 32 * 20), uint8."""
    blocks = packed.reshape(len(packed), -1, BYTES)
    scale, minimum = blocks[..., :4].contiguous().view(torch.float16).float().split(1, dim=-1)
    codes = torch.cat([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], dim=-1)
    return (codes * scale + minimum).flatten(1)


class Q4Linear(nn.Linear):
    """A linear layer that computes in float32, never learns, and is saved in 4 bits as ``packed``."""

    packed: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        # buffers both: nothing that trains parameters finds a weight whose file form would not follow
        weight = self.weight.detach()
        del self.weight
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("packed", torch.zeros(out_features, in_features // WEIGHTS * BYTES, dtype=torch.uint8))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.weight = unpack_q4_1(self.packed).to(self.weight.dtype)
