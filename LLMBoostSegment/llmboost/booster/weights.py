"""What every source of a booster's frozen block gives: the weights, their shape and the scale that they are used to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import LLMBoostError
from .block import BlockShape
from .q4 import unpack_q4_1


@dataclass(frozen=True)
class BlockWeights:
    """A language model's blocks: their shape, their weights, and the scale of hidden states that they are used to.

    ``states`` are state dicts of :class:`LanguageModelBlock`, one a layer; with ``q4`` they hold 4-bit ``packed``
    tensors. ``natural_rms`` is the root mean square of what enters the first of them in the language model.
    ``source`` and ``layers`` say where they come from, without naming a folder of this machine.
    """

    shape: BlockShape
    states: list[dict[str, Tensor]]
    natural_rms: float
    q4: bool
    description: str
    source: str = ""
    layers: tuple[int, ...] = ()

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


def choose_layers(source: str, layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """``layers`` of a model with ``depth`` of them; where none is named, the one two thirds of the way up.

    Raises:
        LLMBoostError: there is no such layer.
    """
    if not all(0 <= layer < depth for layer in layers):
        raise LLMBoostError(
            f"booster '{source}': no layer {', '.join(map(str, layers))}; it has layers 0 to {depth - 1}"
        )
    return layers or (2 * depth // 3,)
