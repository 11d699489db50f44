"""Segments over their image in three planes, as a PNG: a quick look without an image viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from .card import Label
from .image import Image, resample, to_canonical


@dataclass(frozen=True)
class Scene:
    """An image with its label map, on one grid, and a title."""

    title: str
    image: Image
    labelmap: Image


# title, the axis cut, the axes shown to the right and upwards, and what lies at the picture's left and right edge
PLANES = (
    ("sagittal", 0, (1, 2), ("P", "A")),
    ("coronal", 1, (0, 2), ("R", "L")),
    ("axial", 2, (0, 1), ("R", "L")),
)


def draw(scenes: Sequence[Scene], labels: Sequence[Label], path: Path) -> None:
    """Draw a row a scene: the sagittal, coronal and axial planes in which most is segmented.

    The patient's right is at the picture's left, as radiologists look at patients and as Slicer shows them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = 4 if sum(len(label.name) for label in labels) < 80 else 2 if len(labels) <= 4 else 3  # what fits
    legend_rows = max(1, ceil(len(labels) / columns))
    height = 0.2 + 0.2 * legend_rows + 3.1 * len(scenes)
    figure = Figure(figsize=(9, height), layout="constrained", facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(scenes), len(PLANES), squeeze=False)
    for row, scene in zip(axes, scenes, strict=True):
        image = to_canonical(scene.image)
        values = resample(scene.labelmap, image, "nearest").array
        low, high = np.percentile(image.array, (1, 99.5))
        for axis, (name, cut, shown, edges) in zip(row, PLANES, strict=True):
            place = _fullest(values > 0, cut)
            plane = np.take(image.array, place, cut).T
            segments = np.take(values, place, cut).T
            mirrored = edges[0] == "R"
            right, up = shown
            extent = np.array([0, plane.shape[1] * image.spacing[right], 0, plane.shape[0] * image.spacing[up]])
            axis.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent, interpolation="bicubic")
            for label in labels:
                _paint(axis, segments == label.value, label, extent)
            if mirrored:
                axis.invert_xaxis()
            axis.set_title(f"{scene.title}, {name}", color="white", fontsize=9)
            axis.text(0.02, 0.5, edges[0], color="white", transform=axis.transAxes)
            axis.text(0.94, 0.5, edges[1], color="white", transform=axis.transAxes)
            axis.set_axis_off()
    patches = [Patch(color=_rgb(label), label=label.name) for label in labels]
    legend = figure.legend(
        handles=patches, loc="outside lower center", ncols=columns, frameon=False, labelcolor="white"
    )
    legend.set_in_layout(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _paint(axis: object, mask: np.ndarray, label: Label, extent: np.ndarray) -> None:
    if not mask.any():
        return
    overlay = np.zeros((*mask.shape, 4))
    overlay[mask] = (*_rgb(label), 0.35)
    axis.imshow(overlay, origin="lower", extent=extent, interpolation="nearest")  # type: ignore[attr-defined]
    if min(mask.shape) < 2:  # matplotlib has no contours of a single row
        return
    axis.contour(  # type: ignore[attr-defined]
        mask, levels=[0.5], colors=[_rgb(label)], linewidths=1.2, extent=extent, origin="lower"
    )


def _fullest(mask: np.ndarray, axis: int) -> int:
    """The slice along ``axis`` with most of the mask; the middle one of an empty mask."""
    if not mask.any():
        return mask.shape[axis] // 2
    return int(mask.sum(axis=tuple(a for a in range(3) if a != axis)).argmax())


def _rgb(label: Label) -> tuple[float, float, float]:
    red, green, blue = (channel / 255 for channel in label.color)
    return red, green, blue
