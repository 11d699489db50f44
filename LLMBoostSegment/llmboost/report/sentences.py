"""What was measured in a case, in plain sentences: every number is one that was measured, nothing is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..card import Flag, Volumetry

SMALL = 0.1  # mL: what is smaller is told with more decimals


@dataclass(frozen=True)
class Measured:
    """What a segmentation of a case measures.

    Attributes:
        volumes_ml: of each segment, by name.
        volumetry: which of them are set against each other.
        quality: how good the segments are expected to be; None where nobody knows.
        entropy: mean over the voxels that were drawn, 0 to 1, how undecided the network was there; None: not asked for.
        warnings: what a reader should know before believing the result.
        edited: a person has changed the segments since.
    """

    volumes_ml: Mapping[str, float]
    volumetry: Volumetry = field(default_factory=Volumetry)
    quality: Flag | None = None
    entropy: float | None = None
    warnings: Sequence[str] = ()
    edited: bool = False


def sentences(measured: Measured, model: str) -> list[str]:
    """The report's text, a paragraph each; ``model``: who drew the segments."""
    volumes = measured.volumes_ml
    found = {name: ml for name, ml in volumes.items() if ml}
    missing = [name for name in volumes if name not in found]
    known = f" of the {len(volumes)} that it knows" if missing else ""
    drew = f"The model {model} drew {_counted(len(found))}{known}."
    if len(volumes) == 1:
        drew = f"The model {model} drew one structure." if found else f"The model {model} found nothing."
    text = [
        drew + (" The segments were edited by a person since; volumes are those of now." if measured.edited else "")
    ]
    total = measured.volumetry.intracranial_ml(volumes)
    shares = measured.volumetry.intracranial_percent(volumes)
    if total is not None:
        text.append(f"The total intracranial volume is {milliliters(total)}.")
    if found:
        parts = [
            f"{name} {milliliters(ml)}" + (f" ({shares[name]:.2f} % of it)" if name in shares else "")
            for name, ml in found.items()
        ]
        text.append(f"Volumes: {'; '.join(parts)}.")
    indices = measured.volumetry.asymmetry_percent(volumes)
    for pair in measured.volumetry.pairs:
        if pair.structure in indices:
            text.append(_sides(pair.structure, volumes[pair.left], volumes[pair.right], indices[pair.structure]))
    if missing:
        text.append(f"Not found: {', '.join(missing)}.")
    if measured.quality is not None and not measured.edited:
        text.append(f"{measured.quality.text[:1].upper()}{measured.quality.text[1:]}.")
    if measured.entropy is not None and not measured.edited:
        text.append(f"The mean uncertainty where something was drawn (entropy, from 0 to 1) is {measured.entropy:.2f}.")
    return text


def milliliters(ml: float) -> str:
    return f"{ml:,.2f} mL" if ml >= SMALL else f"{ml:.4f} mL"


def _sides(structure: str, left: float, right: float, index: float) -> str:
    both = f"{milliliters(left)} at the left and {milliliters(right)} at the right"
    told = f"asymmetry index {index:+.1f} %"
    if f"{index:+.1f}" in ("+0.0", "-0.0"):
        return f"Of {structure}, both sides are alike: {both} ({told})."
    larger = "left" if index > 0 else "right"
    return f"Of {structure}, the {larger} side is the larger one: {both} ({told})."


def _counted(count: int) -> str:
    return f"{count or 'no'} structure{'s'[: count != 1]}"
