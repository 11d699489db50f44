"""In which numbers a device trains. Weights, losses and what the optimizer remembers are float32 everywhere."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "float32")


def training_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """What layers compute in while they learn.

    On a GPU float16, with scaled losses. On a CPU that multiplies bfloat16 (AVX512-BF16 or AMX: AMD's since Zen 4,
    Intel's servers since Sapphire Rapids) bfloat16, which is faster than float32; on other CPUs, it would be slower.

    Args:
        precision: ``auto``, or ``float32`` whatever the device, for comparisons.

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}' is none of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return torch.float32
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    """Whether the CPU does; an older torch cannot tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    return tell is not None and any(tell().get(name) for name in ("avx512_bf16", "amx_bf16"))


def name_of(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def computing(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which layers compute in ``dtype``."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
