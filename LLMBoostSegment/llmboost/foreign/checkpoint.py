"""Weights as torch.save wrote them, a pickle: read without running anything that is in it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LLMBoostError
from ..files import check_regular, printable

_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
# all that is allowed beside what torch allows itself: NumPy's numbers, by their names before and since its version 2
_ALLOWED: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32")),
]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What is in the checkpoint at ``path``: tensors, numbers, texts, and tables and lists of them.

    Raises:
        LLMBoostError: no such file, or one with anything else in it, or with more than its own size.
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch stores tensors as they are: what is packed is made to do harm
            size = sum(member.file_size for member in archive.infolist())
        if size > path.stat().st_size:
            raise LLMBoostError(f"{path}: refused, it is packed to look smaller than it is")
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except zipfile.BadZipFile as error:
        raise LLMBoostError(
            f"{path}: no checkpoint of PyTorch 1.6 or newer, or a damaged one; copy it again"
        ) from error
    except pickle.UnpicklingError as error:
        raise LLMBoostError(f"{path}: refused, it holds programs and not weights alone{_named(error)}") from error
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, MemoryError) as error:
        raise LLMBoostError(f"{path}: a damaged checkpoint, or none; copy it again") from error
    if not isinstance(content, dict):
        raise LLMBoostError(f"{path}: not a checkpoint (a table of weights is expected)")
    return content


def check_size(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises LLMBoostError where tensors take more than their file, as views that repeat the same numbers would; one
    that is there under several names counts once."""
    different = {(tensor.data_ptr(), tensor.shape, tensor.dtype): tensor for tensor in tensors.values()}
    if sum(tensor.numel() * tensor.element_size() for tensor in different.values()) > path.stat().st_size:
        raise LLMBoostError(f"{path}: refused, its weights are larger than the file")


def _named(error: Exception) -> str:
    """Such as " (os.system)", as torch tells what it does not allow."""
    told = str(error).partition("GLOBAL ")[2].split()
    return f" ({printable(told[0])})" if told else ""
