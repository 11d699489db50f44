"""What the parts of a network are, for what adapts it, whatever they are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parts:
    """Modules and parameters of a network, by the names that theirs begin with.

    Attributes:
        first: what sees the image first, and so what a scanner changes.
        decoder: from the coarsest features back to the image's resolution.
        head: what makes logits of these.
        convolutional: convolutions are what the network computes with, so that they, too, get low-rank updates.
    """

    first: tuple[str, ...]
    decoder: tuple[str, ...]
    head: tuple[str, ...]
    convolutional: bool = False


def lies_in(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a module or a parameter is one of ``parts``, or lies in one."""
    return any(name == part or name.startswith(part + ".") for part in parts)
