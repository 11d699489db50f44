"""In which numbers a device trains. Weights, losses and what the optimizer remembers are float32 everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

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


@contextmanager
def computing(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """A context in which layers compute in ``dtype``."""
    safely = _FloatOnSmallGrids() if (device.type, dtype) == ("cpu", torch.bfloat16) else nullcontext()
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32), safely:
        yield


class _FloatOnSmallGrids(TorchFunctionMode):
    """Convolutions over an axis that is hardly longer than their kernel compute in float32.

    In bfloat16, oneDNN's gradients of such a kernel come from memory that nobody wrote: they are any number, or the
    process ends (torch 2.13 on CPUs with AVX512-BF16; kernels of 3, 5 and 7 along axes of up to one voxel more).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS:
            named = dict(zip(("input", "weight"), args, strict=False)) | kwargs
            if _is_small(named["input"], named["weight"]):
                with torch.autocast("cpu", enabled=False):
                    return func(*map(_float, args), **{name: _float(value) for name, value in kwargs.items()})
        return func(*args, **kwargs)


_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _is_small(image: Tensor, kernel: Tensor) -> bool:
    """Of an image (B, C, ...) and a kernel (outputs, C, ...)."""
    return any(1 < taps >= size - 1 for size, taps in zip(image.shape[2:], kernel.shape[2:], strict=True))
