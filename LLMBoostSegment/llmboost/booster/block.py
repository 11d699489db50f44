"""One transformer block of a language model, as an encoder layer for image tokens.

The block of Llama, Mistral, Qwen2, Qwen3 and SmolLM: RMSNorm, grouped-query attention, RMSNorm, SwiGLU, each behind a
residual. Image tokens have no order to respect and carry their positions already, so there is no causal mask and no
rotary embedding (R-LLM, arXiv 2403.17343; MedVisionLlama, arXiv 2410.02458): the block is equivariant to any
permutation of the tokens. Parameter names are those of Hugging Face's ``model.layers.{i}``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .q4 import Q4Linear


@dataclass(frozen=True)
class BlockShape:
    """The sizes of a language model's block; ``ffn`` is the hidden width of its feed-forward layer."""

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    eps: float = 1e-5
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # torch has one fused step only where both are of one type; in half precision, the mean is of float32 there
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023): ``heads`` queries share ``kv_heads`` keys and values."""

    def __init__(self, shape: BlockShape, linear: type[nn.Linear]) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.q_proj = linear(shape.width, shape.heads * shape.head_dim, bias=shape.qkv_bias)
        self.k_proj = linear(shape.width, shape.kv_heads * shape.head_dim, bias=shape.qkv_bias)
        self.v_proj = linear(shape.width, shape.kv_heads * shape.head_dim, bias=shape.qkv_bias)
        self.o_proj = linear(shape.heads * shape.head_dim, shape.width, bias=shape.o_bias)
        self.q_norm = RMSNorm(shape.head_dim, shape.eps) if shape.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(shape.head_dim, shape.eps) if shape.qk_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:  # (B, T, heads * head_dim) -> (B, T, heads, head_dim)
            return y.unflatten(-1, (-1, self.head_dim))

        q = self.q_norm(split(self.q_proj(x))).transpose(1, 2)
        k = self.k_norm(split(self.k_proj(x))).transpose(1, 2)
        v = split(self.v_proj(x)).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])
        return self.o_proj(y.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, shape: BlockShape, linear: type[nn.Linear]) -> None:
        super().__init__()
        self.gate_proj = linear(shape.width, shape.ffn, bias=shape.mlp_bias)
        self.up_proj = linear(shape.width, shape.ffn, bias=shape.mlp_bias)
        self.down_proj = linear(shape.ffn, shape.width, bias=shape.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LanguageModelBlock(nn.Module):
    """A pre-norm transformer block on tokens (B, T, width), without mask and without positions.

    Args:
        shape: the sizes.
        q4: keep the linear layers in their source's 4-bit form in files (see :mod:`.q4`).
    """

    def __init__(self, shape: BlockShape, *, q4: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.q4 = q4
        linear = Q4Linear if q4 else nn.Linear
        self.input_layernorm = RMSNorm(shape.width, shape.eps)
        self.self_attn = Attention(shape, linear)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.eps)
        self.mlp = SwiGLU(shape, linear)

    def freeze(self, frozen: bool) -> None:
        """Keep the published weights: gradients pass through them, none changes them. False lets them learn."""
        self.requires_grad_(not frozen)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))
