"""What a batch writes of where the model looked: a map a case, and a picture of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..explanation import LAYERS, METHODS, explain
from ..inference.roi import Roi
from ..io.image import Image, write_image
from ..io.picture import draw_map
from ..model import Model


@dataclass(frozen=True)
class ExplainOptions:
    """What to explain of each case: ``target``, ``method`` and ``layer`` as for :func:`..explain.explain`."""

    target: int | None = None
    method: str = next(iter(METHODS))
    layer: str = LAYERS[0]


def explanation_files(id: str) -> list[str]:
    """The map and its picture."""
    return [f"{id}_explanation.nii.gz", f"{id}_explanation.png"]


def write_explanation(
    model: Model,
    channels: list[Image],
    options: ExplainOptions,
    folder: Path,
    id: str,
    *,
    drawn: Image | None = None,
    roi: Roi | None = None,
    slice_number: int | None = None,
    modality: str = "",
    anyway: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[str]:
    """Explain a case, write the results into ``folder``, and give the explanation's warnings.

    Args:
        drawn: of a segmenter, the label map that it drew.

    Raises:
        LLMBoostError: as :func:`..explain.explain`, or a file cannot be written.
    """
    mask = None
    if drawn is not None:
        value = model.card.labels[0].value if options.target is None else options.target
        mask = drawn.with_array(drawn.array == value)
    found = explain(
        model,
        channels,
        target=options.target,
        method=options.method,
        layer=options.layer,
        reference=mask,
        roi=roi,
        slice_number=slice_number,
        modality=modality,
        anyway=anyway,
        progress=progress,
    )
    file, picture = (folder / name for name in explanation_files(id))
    write_image(found.map, file)
    title = f"{found.method}, {found.layer} the booster: {found.target.name}"
    draw_map(id, channels[0], found.map, title, picture, mask)
    return list(found.warnings)
