"""A model: a network with its card, in one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from .adapter import merged
from .card import METADATA_KEY, Card, check_weights, read_card
from .card.tiles import can_be_faster, faster
from .errors import LLMBoostError
from .files import printable, write_whole
from .library import find_base
from .networks import build

# all that building a network from a damaged card, or filling it with other weights, may raise
_MISFITS = (
    LLMBoostError,
    SafetensorError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_FORMER_TENSOR = re.compile("^familiarity[.]")  # of files written before version 0.2
# of torch's allocators, of CUDA, and of the operating system
_SCARCE = re.compile("can't allocate memory|out of memory|cannot allocate", re.IGNORECASE)


@dataclass(frozen=True)
class Model:
    """A network, ready to compute (float32, evaluation mode), and what its card says of it.

    Attributes:
        helpers: models that this one needs to be used, by name, as far as they are loaded.
    """

    card: Card
    network: nn.Module
    helpers: dict[str, Model] = field(default_factory=dict, compare=False, repr=False)

    def faster(self) -> Model:
        """The same model, with a larger step from patch to patch; raises LLMBoostError where that saves nothing."""
        if not can_be_faster(self.card):
            raise LLMBoostError(f"model '{self.card.name}' has no fast mode: its patches hardly overlap; leave it out")
        return dataclasses.replace(self, card=faster(self.card))


def save_model(network: nn.Module, card: Card, path: Path, precision: torch.dtype | None = None) -> Card:
    """Write a model file, whole or not at all: weights in float16, a frozen block in its source's own 4 bits.

    Args:
        precision: of the weights; by default float32 of models of other programs, which are to answer to the last
            digit as they did there, and of what is adapted from them.

    Returns:
        the card with the file's digest.

    Raises:
        LLMBoostError: the file cannot be written, or a weight is not finite in that precision.
    """
    return save_tensors(network.state_dict(), card, path, precision)


def save_tensors(tensors: Mapping[str, Tensor], card: Card, path: Path, precision: torch.dtype | None = None) -> Card:
    """Write a file of ``tensors``, as :func:`save_model` does: of an adapter, those that differ from its base."""
    precision = precision or (torch.float32 if card.origin else torch.float16)
    tensors = {name: _stored(tensor, precision) for name, tensor in tensors.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise LLMBoostError(f"{path}: not written, weights are not finite ({broken[0]}); train with a smaller rate")
    card = dataclasses.replace(card, digest=_digest(safetensors.torch.save(tensors)))
    try:
        data = safetensors.torch.save(tensors, metadata={METADATA_KEY: card.to_json()})
    except ValueError as error:
        raise LLMBoostError(f"{path}: not written, a figure of its card is no finite number") from error
    write_whole(path, data)
    return card


def load_model(path: Path, device: str | torch.device = "cpu") -> Model:
    """Read a model file and check it against its card; an adapter is merged into its base.

    Raises:
        LLMBoostError: no model file, a damaged one, or one whose weights do not fit its card, or an adapter whose base
            is not at hand.
    """
    card = read_card(path)
    try:
        check_weights(path, card)
        network = _read_network(path, card)
        return Model(card, network.eval().requires_grad_(requires_grad=False).to(device))
    except RecursionError as error:
        raise LLMBoostError(f"{path}: an adapter whose base needs it in turn; the files are of no use") from error
    except (MemoryError, OSError, RuntimeError) as error:
        if _is_scarce(error):
            raise LLMBoostError(
                f"{path}: out of memory; close other programs, or use a machine with more ({_reason(error)})"
            ) from error
        if isinstance(error, OSError):
            raise LLMBoostError(f"{path}: cannot be read ({error.strerror or _reason(error)})") from error
        raise


def _read_network(path: Path, card: Card) -> nn.Module:
    options = dict(card.network)
    base = load_model(find_base(card.adapter, path)).network if card.adapter else None
    try:
        tensors = safetensors.torch.load_file(path)
        # a card that lies about sizes must take neither memory (hence shapes alone first) nor time
        depth = options.get("network", options).get("depth", 0)
        if depth > len(tensors if base is None else base.state_dict()):
            raise ValueError(f"depth {depth}, but {len(tensors)} tensors")
        with torch.device("meta"):
            network = build(options.pop("name"), options, card.booster)
        tensors = {
            _FORMER_TENSOR.sub("ood_score.", name): tensor if tensor.dtype == torch.uint8 else tensor.float()
            for name, tensor in tensors.items()
        }
        if base is not None:
            tensors = merged(base, network, tensors)
        network.load_state_dict(tensors, assign=True)
    except RecursionError:
        raise
    except _MISFITS as error:
        if _is_scarce(error):
            raise MemoryError(_reason(error)) from error
        raise LLMBoostError(
            f"{path}: the weights do not fit the card ({_reason(error)}); the file is of no use"
        ) from error
    return network


def _is_scarce(error: BaseException) -> bool:
    """Whether memory is what lacks: allocators raise a RuntimeError, and what maps the file an OSError."""
    return isinstance(error, MemoryError) or _SCARCE.search(str(error)) is not None


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[-1])


def _digest(data: bytes) -> str:
    # a view: the block of a large language model takes half a gigabyte
    return hashlib.sha256(memoryview(data)[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def _stored(tensor: Tensor, precision: torch.dtype) -> Tensor:
    return tensor.detach().cpu().to(precision).contiguous() if tensor.is_floating_point() else tensor.cpu().contiguous()
