"""The pictures of a report, as PNG in base64."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np

from ..card import Label
from .observed import View

INCHES = 2.1  # of a plane
DPI = 90
COLORS = 128


def draw_view(view: View, labels: list[Label]) -> str:
    """The slice twice: with what an expert drew, and with what the model drew."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = view.image.shape[0] * view.spacing[0], view.image.shape[1] * view.spacing[1]
    height = INCHES * min(max(size[1] / size[0], 0.5), 1.5)
    figure = Figure(figsize=(2 * INCHES + 0.06, height), facecolor="black")
    FigureCanvasAgg(figure)
    low, high = np.percentile(view.image, (1, 99.5))
    extent = (0.0, size[0], 0.0, size[1])
    for n, segments in enumerate((view.reference, view.prediction)):
        axis = figure.add_axes((n * 0.507, 0, 0.493, 1))
        axis.imshow(
            view.image.T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", extent=extent,
            interpolation="bilinear",
        )  # fmt: skip
        axis.set_xlim(extent[1], extent[0])  # the patient's right at the left, as radiologists look
        axis.set_axis_off()
        for label in labels:
            _outline(axis, (segments == label.value).T, label, extent)
    data = BytesIO()
    figure.savefig(data, dpi=DPI, facecolor="black")
    return _small(data)


def _outline(axis: Any, mask: np.ndarray, label: Label, extent: tuple[float, float, float, float]) -> None:
    if not mask.any():
        return
    color = tuple(channel / 255 for channel in label.color)
    overlay = np.zeros((*mask.shape, 4))
    overlay[mask] = (*color, 0.3)
    axis.imshow(overlay, origin="lower", extent=extent, interpolation="nearest")
    if min(mask.shape) > 1:
        axis.contour(mask, levels=[0.5], colors=[color], linewidths=1.1, extent=extent, origin="lower")


def _small(data: BytesIO) -> str:
    """As PNG with a palette, which takes a third of the bytes."""
    from PIL import Image

    picture = BytesIO()
    Image.open(data).convert("RGB").quantize(COLORS).save(picture, "PNG", optimize=True)
    return base64.b64encode(picture.getvalue()).decode()
