"""Segments or a map over their image in three planes, as a PNG: a quick look without an image viewer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import numpy as np

from ..card import Label
from ..files import atomic_path, visible
from .image import Image, resample, to_canonical


@dataclass(frozen=True)
class Scene:
    """An image with its label map, on one grid, and a title."""

    title: str
    image: Image
    labelmap: Image


Plane = tuple[str, int, tuple[int, int], tuple[str, str]]
HEAT = "inferno"
OPACITY = 0.75
CAPTION = 36  # letters that fit above or below a plane
LINES = 3  # of such a text
LINE = 0.15  # inches
MARGIN = 40.0  # mm that are shown around a map: enough to tell where in a head it is

# title, the axis cut, the axes shown to the right and upwards, and what lies at the picture's left and right edge
PLANES: tuple[Plane, ...] = (
    ("sagittal", 0, (1, 2), ("P", "A")),
    ("coronal", 1, (0, 2), ("R", "L")),
    ("axial", 2, (0, 1), ("R", "L")),
)


def draw(scenes: Sequence[Scene], labels: Sequence[Label], path: Path) -> None:
    """Draw a row a scene: the sagittal, coronal and axial planes in which most is segmented; of one image twice, the
    planes of the first of these scenes, so that they can be compared.

    The patient's right is at the picture's left, as radiologists look at patients and as Slicer shows them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = 4 if sum(len(label.name) for label in labels) < 80 else 2 if len(labels) <= 4 else 3  # what fits
    legend_rows = max(1, ceil(len(labels) / columns))
    height = 0.2 + 0.2 * legend_rows + 3.1 * len(scenes)
    figure = Figure(figsize=(9, height), facecolor="black")
    # the layout does not see how far titles reach above planes of several heights
    figure.set_layout_engine("constrained", h_pad=LINE, rect=(0, 0, 1, 1 - LINE / height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(scenes), len(PLANES), squeeze=False)
    before: Image | None = None
    places: list[int] = []
    for row, scene in zip(axes, scenes, strict=True):
        image, named = to_canonical(scene.image), _lies_in_patient(scene.image)
        values = resample(scene.labelmap, image, "nearest").array
        low, high = np.percentile(image.array, (1, 99.5))
        if scene.image is not before:
            before, places = scene.image, [_fullest(values > 0, plane[1]) for plane in PLANES]
        for axis, plane, place in zip(row, PLANES, places, strict=True):
            cut = plane[1]
            extent = _show(axis, image, plane, place, scene.title, (low, high), named)
            segments = np.take(values, place, cut).T
            for label in labels:
                _paint(axis, segments == label.value, label, extent)
    patches = [Patch(color=_rgb(label), label="label") for label in labels]
    legend = figure.legend(
        handles=patches, loc="outside lower center", ncols=columns, frameon=False, labelcolor="white"
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):  # as they are: no mathematics, no leading _
        text.set(parse_math=False, text=visible(label.name))
    legend.set_in_layout(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def draw_map(title: str, image: Image, heat: Image, name: str, path: Path, segment: Image | None = None) -> None:
    """Draw a map in [0, 1] over the part of an image around it, in the planes where it is highest, with its scale.

    Args:
        image, heat, segment: on any grids; what is not 0 of ``segment`` is outlined.
        name: what the map tells.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    named = _lies_in_patient(image)
    image = to_canonical(image)
    values = np.clip(resample(heat, image, "linear").array, 0, 1)
    mask = None if segment is None else resample(segment, image, "nearest").array != 0
    part = _around(values > 0 if mask is None else (values > 0) | mask, image.spacing)
    values, mask = values[part], None if mask is None else mask[part]
    image = Image(image.array[part], image.spacing, image.origin, image.direction)  # its place is not asked for
    planes = [plane for plane in PLANES if min(image.shape[axis] for axis in plane[2]) > 1]
    places = np.unravel_index(int(values.argmax()), values.shape)
    low, high = np.percentile(image.array, (1, 99.5))
    above = max(_fitted(title, plane[0] if named else "").count("\n") for plane in planes) * LINE + 2 * LINE
    height = 3.8 + above
    figure = Figure(figsize=(3 * len(planes), height), facecolor="black")
    # the layout does not see how far titles reach above planes of several heights, and the caption below
    figure.set_layout_engine("constrained", rect=(0, LINE / height, 1, 1 - (above + LINE) / height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(planes), squeeze=False)[0]
    for axis, plane in zip(axes, planes, strict=True):
        place = int(places[plane[1]])
        extent = _show(axis, image, plane, place, title, (low, high), named)
        axis.title.set_in_layout(False)
        shown = np.take(values, place, plane[1]).T
        axis.imshow(
            shown,
            cmap=HEAT,
            vmin=0,
            vmax=1,
            alpha=np.sqrt(shown) * OPACITY,
            origin="lower",
            extent=extent,
            interpolation="bilinear",
        )
        outline = None if mask is None else np.take(mask, place, plane[1]).T
        if outline is not None and outline.any():
            axis.contour(outline, levels=[0.5], colors=["cyan"], linewidths=1.0, extent=extent, origin="lower")
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), ax=axes, location="bottom", shrink=0.5, aspect=40, ticks=(0, 0.5, 1)
    )
    caption = name if segment is None else f"{name} (outlined)"
    bar.set_label(fill(visible(caption), CAPTION * len(planes)), color="white", parse_math=False)
    bar.ax.tick_params(colors="white")
    with atomic_path(path) as temporary, warnings.catch_warnings(action="ignore"):  # of scripts without glyphs
        figure.savefig(temporary, dpi=100)


def _show(
    axis: Any, image: Image, plane: Plane, place: int, title: str, limits: tuple[float, float], named: bool
) -> tuple[float, float, float, float]:
    """Draw a plane of an image in gray and, if ``named``, which it is and what lies at its edges; gives its extent in
    mm."""
    name, cut, (right, up), edges = plane
    voxels = np.take(image.array, place, cut).T
    extent = (0.0, voxels.shape[1] * image.spacing[right], 0.0, voxels.shape[0] * image.spacing[up])
    low, high = limits
    axis.imshow(voxels, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent, interpolation="bicubic")
    axis.set_xlim(*(reversed(extent[:2]) if edges[0] == "R" else extent[:2]))  # what is drawn later leaves it so
    axis.set_title(_fitted(title, name if named else ""), color="white", fontsize=9, parse_math=False)
    if named:
        axis.text(0.02, 0.5, edges[0], color="white", transform=axis.transAxes)
        axis.text(0.94, 0.5, edges[1], color="white", transform=axis.transAxes)
    axis.set_axis_off()
    return extent


def _lies_in_patient(image: Image) -> bool:
    """Whether it is known how an image lies in the patient. Of pictures (PNG, JPEG, X-rays) it is not: they are read as
    one slice at the origin, along the axes."""
    picture = image.shape[2] == 1 and not any(image.origin) and np.array_equal(image.direction, np.eye(3))
    return image.sides_known and not picture


def _fitted(text: str, last: str = "") -> str:
    """Text in a few lines of ``CAPTION`` letters, of which the end tells ``last``."""
    lines = wrap(visible(text), CAPTION) or [""]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], lines[LINES - 1][: CAPTION - 3] + "..."]
    if not last:
        return "\n".join(lines)
    whole = f"{lines[-1]}, {last}"
    return "\n".join([*lines[:-1], whole] if len(whole) <= CAPTION else [*lines, last])


def _paint(axis: Any, mask: np.ndarray, label: Label, extent: tuple[float, float, float, float]) -> None:
    if not mask.any():
        return
    overlay = np.zeros((*mask.shape, 4))
    overlay[mask] = (*_rgb(label), 0.35)
    axis.imshow(overlay, origin="lower", extent=extent, interpolation="nearest")
    if min(mask.shape) < 2:  # matplotlib has no contours of a single row
        return
    axis.contour(mask, levels=[0.5], colors=[_rgb(label)], linewidths=1.2, extent=extent, origin="lower")


def _fullest(mask: np.ndarray, axis: int) -> int:
    """The slice along ``axis`` with most of the mask; the middle one of an empty mask."""
    if not mask.any():
        return mask.shape[axis] // 2
    return int(mask.sum(axis=tuple(a for a in range(3) if a != axis)).argmax())


def _around(mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, ...]:
    """The box around a mask with a margin; all, of an empty one."""
    part = []
    for axis, mm in enumerate(spacing):
        there = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = round(MARGIN / mm)
        part.append(slice(max(there[0] - margin, 0), there[-1] + margin + 1) if len(there) else slice(None))
    return tuple(part)


def _rgb(label: Label) -> tuple[float, float, float]:
    red, green, blue = (channel / 255 for channel in label.color)
    return red, green, blue
