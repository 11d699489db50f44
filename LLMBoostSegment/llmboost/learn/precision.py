"""In which numbers a device trains. Weights, losses and what the optimizer remembers are float32 everywhere."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "float32")


def training_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """What layers compute in while they learn.

    On a GPU float16, with scaled losses. On a CPU with AMX tiles (Intel's since Sapphire Rapids) bfloat16, several
    times as fast as float32; on other CPUs, bfloat16 would be slower.

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
    return torch.bfloat16 if device.type == "cpu" and _has_tiles() else torch.float32


def _has_tiles() -> bool:
    """Whether the CPU multiplies tiles of bfloat16; an older torch cannot tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    return tell is not None and bool(tell().get("amx_bf16"))


def name_of(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def computing(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which layers compute in ``dtype``."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
