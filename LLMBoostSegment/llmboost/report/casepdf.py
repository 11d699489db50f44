"""The report of a case as PDF: A4, text that can be searched and copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ..files import visible
from .case import CaseReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.27, 11.69  # inches
LEFT, TOP, BOTTOM = 0.8, 0.8, 0.9
LINE = 0.19
LETTERS = 92  # of a line in the text's size
COLUMNS = (0.0, 3.1, 4.2, 5.5)  # inches, of the table


class _Pages:
    """Pages that are filled from above; a new one begins where something does not fit."""

    def __init__(self, file: Any, foot: str) -> None:
        self._file, self._foot, self._down, self._number = file, foot, TOP, 0
        self._figure: Figure | None = None

    def text(self, words: str, size: float = 9.5, gap: float = 0.0, **style: Any) -> None:
        """A paragraph, ``gap`` inches above it."""
        self.skip(gap)
        for line in wrap(visible(words), int(LETTERS * 9.5 / size)) or [""]:
            self.line([(0.0, line)], size, **style)

    def line(self, parts: Sequence[tuple[float, str]], size: float = 9.5, **style: Any) -> None:
        """Texts side by side, so many inches from the left."""
        figure = self._room(LINE * size / 9.5)
        for across, words in parts:
            place = (LEFT + across) / WIDTH, 1 - self._down / HEIGHT
            figure.text(*place, visible(words), size=size, parse_math=False, va="bottom", **style)

    def picture(self, data: bytes, caption: str) -> None:
        from matplotlib.image import imread

        pixels = imread(BytesIO(data), "png")
        width = WIDTH - 2 * LEFT
        height = min(width * pixels.shape[0] / pixels.shape[1], HEIGHT - TOP - BOTTOM - 1)
        figure = self._room(height + 0.1 + LINE)
        axis = figure.add_axes((LEFT / WIDTH, 1 - (self._down - LINE) / HEIGHT, width / WIDTH, height / HEIGHT))
        axis.imshow(pixels)
        axis.set_axis_off()
        figure.text(LEFT / WIDTH, 1 - self._down / HEIGHT, caption, size=8, va="bottom", color="#5b6675")

    def skip(self, inches: float) -> None:
        self._down += inches

    def keep_together(self, inches: float) -> None:
        """What follows begins on a new page unless so much is free on this one."""
        if self._down + inches > HEIGHT - BOTTOM:
            self._down = HEIGHT

    def close(self) -> None:
        if self._figure is not None:
            self._file.savefig(self._figure)

    def _room(self, inches: float) -> Figure:
        """The page on which so much is free, which is taken."""
        from matplotlib.figure import Figure

        if self._figure is None or self._down + inches > HEIGHT - BOTTOM:
            self.close()
            self._number += 1
            self._figure, self._down = Figure(figsize=(WIDTH, HEIGHT)), TOP
            foot = f"{self._foot}   page {self._number}"
            self._figure.text(LEFT / WIDTH, 0.5 / HEIGHT, visible(foot), size=8, color="#5b6675", parse_math=False)
        self._down += inches
        return self._figure


def pdf(report: CaseReport) -> bytes:
    """The report as a PDF file's bytes."""
    import warnings

    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages

    data = BytesIO()
    made = {"Title": visible(report.id), "Creator": "LLMBoost", "Subject": "Research use only"}
    with (
        rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}),
        warnings.catch_warnings(action="ignore"),  # of scripts without glyphs
        PdfPages(data, metadata=made) as file,
    ):
        pages = _Pages(file, f"{report.id}: research use only")
        pages.text(report.id, 16, weight="bold")
        pages.text(report.title, 10.5, color="#5b6675")
        pages.text(report.limits[0], 10.5, 0.08, weight="bold", color="#8a4b00")
        for warning in report.warnings:
            pages.text(warning, gap=0.05, color="#8a4b00")
        for data_of, caption in ((data_of, caption) for caption, data_of in report.pictures):
            pages.skip(0.1)
            pages.picture(data_of, caption)
        for paragraph in report.text:
            pages.text(paragraph, gap=0.08)
        _heading(pages, "Measurements")
        for parts in _table(report):
            pages.line(parts, 8.5)
        _heading(pages, "Model")
        for key, value in report.card.items():
            pages.text(f"{key}: {value}", 8.5, 0.03)
        _heading(pages, "Limits")
        for limit in report.limits:
            pages.text(limit, gap=0.05)
        pages.close()
    return data.getvalue()


def _heading(pages: _Pages, words: str) -> None:
    pages.keep_together(5 * LINE)
    pages.text(words, 12, 0.2, weight="bold")
    pages.skip(0.05)


def _table(report: CaseReport) -> Iterator[Sequence[tuple[float, str]]]:
    yield list(zip(COLUMNS, (name.replace("total intracranial volume", "TIV") for name in report.head), strict=False))
    for name, _color, texts in report.rows:
        short = name if len(name) <= 48 else name[:45] + "..."
        yield list(zip(COLUMNS, (short, *texts), strict=False))
