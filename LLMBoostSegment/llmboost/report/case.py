"""The report of a case: what was measured, with pictures, the model's card and the limits, as HTML or as PDF."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..card import Card, Label
from ..card.told import told
from ..io.image import Image
from ..io.picture import Scene, draw, draw_map
from .page import STYLE
from .sentences import Measured, sentences
from .templating import render

LIMITS = (
    "Research use only: not for diagnosis, treatment or any other clinical use.",
    "All numbers were measured on segments that a computer drew. Nothing here judges what is normal: no value is"
    " compared with those of healthy people.",
)


@dataclass(frozen=True)
class CaseReport:
    """What a report shows, however it is written.

    Attributes:
        id: of the case.
        text: in plain sentences, a paragraph each.
        rows: of each segment: name, color (RGB, 0-255), then texts, as ``head`` names them.
        pictures: captions with PNG files' bytes.
        card: of the model, as :func:`..card.told.told` tells it, and which files it is.
        warnings: what a reader should know before believing the numbers.
    """

    id: str
    title: str
    text: Sequence[str]
    head: Sequence[str]
    rows: Sequence[tuple[str, tuple[int, int, int], Sequence[str]]]
    pictures: Sequence[tuple[str, bytes]]
    card: dict[str, str]
    warnings: Sequence[str]
    limits: Sequence[str] = LIMITS

    def html(self) -> bytes:
        """As a page that needs nothing else."""
        pictures = [(caption, base64.b64encode(data).decode()) for caption, data in self.pictures]
        page = render("case.html", report=self, pictures=pictures, style=STYLE, version=__version__)
        return page.encode(errors="backslashreplace")


def case_report(
    id: str,
    card: Card,
    measured: Measured,
    image: Image,
    labelmap: Image,
    labels: Sequence[Label],
    entropy: Image | None = None,
) -> CaseReport:
    """Make the report of a case.

    Args:
        card: of the model that drew the segments.
        image: that they were drawn on.
        labelmap: values of ``labels``; on any grid.
        entropy: how undecided the network was, see :class:`..inference.segment.Segmentation`.
    """
    volumes, compared = measured.volumes_ml, measured.volumetry
    shares, indices = compared.intracranial_percent(volumes), compared.asymmetry_percent(volumes)
    sides = {side: indices.get(pair.structure) for pair in compared.pairs for side in (pair.left, pair.right)}
    head = ["segment", "volume (mL)"]
    head += ["% of total intracranial volume"] if shares else []
    head += ["asymmetry index (%)"] if indices else []
    rows = []
    for label in labels:
        texts = [f"{volumes[label.name]:.3f}"]
        texts += [_text(shares.get(label.name), ".2f")] if shares else []
        texts += [_text(sides.get(label.name), "+.1f")] if indices else []
        rows.append((label.name, label.color, texts))
    known = {key: value for key, value in told(card).items() if value}
    who = f"{card.name} {card.version}".strip()
    return CaseReport(
        id=id,
        title=card.title,
        text=sentences(measured, who),
        head=head,
        rows=rows,
        pictures=_pictures(id, image, labelmap, labels, entropy),
        card={"Model": who, "Digest": card.digest, **known, "LLMBoost": __version__},
        warnings=tuple(dict.fromkeys(measured.warnings)),
    )


def mean_entropy(entropy: Image, labelmap: Image) -> float | None:
    """The mean of a map over what was drawn, on its grid; None where nothing was."""
    drawn = labelmap.array != 0
    return float(entropy.array[drawn].mean(dtype=np.float64)) if drawn.any() else None


def _pictures(
    id: str, image: Image, labelmap: Image, labels: Sequence[Label], entropy: Image | None
) -> list[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        shown = [label for label in labels if (labelmap.array == label.value).any()]
        draw([Scene(id, image, labelmap)], shown, path)
        caption = "The planes in which most was drawn; the patient's right is at the left."
        pictures = [(caption, path.read_bytes())]
        if entropy is not None:
            draw_map(id, image, entropy, "entropy: how undecided the network is", path)
            pictures.append(("How undecided the network is, where it is the most.", path.read_bytes()))
    return pictures


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
