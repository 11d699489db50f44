"""The cases of a batch that most need a look, on pages to print or to pass on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ..files import visible, write_whole
from .entry import Entry, unusual_in_words

if TYPE_CHECKING:
    from PIL import Image as Picture
    from PIL import ImageDraw

DPI = 110
SIZE = 910, 1287  # pixels: A4
EDGE, TOP, ROW = 40, 70, 145  # pixels
SHOWN = 360, 125  # of a picture, at most
A_PAGE = (SIZE[1] - TOP - 20) // ROW
MOST = 25 * A_PAGE  # cases
LETTERS = 66  # of a line beside the picture
LINES = 8
RED, BROWN, GRAY, BLACK = (163, 38, 27), (138, 75, 0), (91, 102, 117), (28, 36, 48)


def write_contact_sheets(path: Path, folder: Path, title: str, cases: Sequence[tuple[Entry, dict[str, float]]]) -> None:
    """Write the first ``MOST`` of the cases as a PDF file of pictures, a row a case, whole or not at all.

    Args:
        folder: that the cases' pictures lie in.
        title: of each page.
        cases: in their order, with the robust z of their unusual values.

    Raises:
        LLMBoostError: it cannot be written.
    """
    shown = cases[:MOST]
    pages = [shown[start : start + A_PAGE] for start in range(0, len(shown), A_PAGE)] or [[]]
    left_out = f"; {len(cases) - MOST:,} cases more are in overview.html" if len(cases) > MOST else ""
    data = BytesIO()
    drawn = (_page(folder, f"{title}, page {n} of {len(pages)}{left_out}", page) for n, page in enumerate(pages, 1))
    next(drawn).save(data, "PDF", resolution=DPI, save_all=True, append_images=drawn)
    write_whole(path, data.getvalue())


def _page(folder: Path, title: str, cases: Sequence[tuple[Entry, dict[str, float]]]) -> Picture.Image:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(page)
    draw.text((EDGE, 30), visible(title), GRAY, _font(13))
    for n, (entry, unusual) in enumerate(cases):
        top = TOP + n * ROW
        draw.line((EDGE, top - 8, SIZE[0] - EDGE, top - 8), (224, 228, 234))
        if entry.picture:
            with suppress(OSError), Image.open(folder / entry.picture) as picture:  # one that was removed since
                picture.thumbnail(SHOWN)
                page.paste(picture, (EDGE, top))
        _words(draw, (EDGE + SHOWN[0] + 16, top), entry, unusual)
    return page


def _words(draw: ImageDraw.ImageDraw, place: tuple[int, int], entry: Entry, unusual: dict[str, float]) -> None:
    across, down = place
    draw.text((across, down), visible(entry.id)[:50], BLACK, _font(13, bold=True))
    for line, color in list(_lines(entry, unusual))[:LINES]:
        down += 15
        draw.text((across, down), line, color, _font(11))


def _lines(entry: Entry, unusual: dict[str, float]) -> Iterator[tuple[str, Any]]:
    told = [(word, RED) for word in ([] if entry.fine else [entry.status, *entry.told])]
    told += [(word, RED) for word in entry.flags]
    told += [(word, BROWN) for word in unusual_in_words(unusual)]
    values = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in entry.values.items()
    ]
    told += [("; ".join(values), BLACK)] if values else []
    told += [(word, GRAY) for word in entry.told] if entry.fine else []
    for words, color in told:
        yield from ((line, color) for line in wrap(visible(words), LETTERS))


def _font(size: int, *, bold: bool = False) -> Any:
    """With the letters of many scripts, which matplotlib brings along; Slicer's Python may have but Pillow's."""
    from PIL import ImageFont

    try:
        from matplotlib import get_data_path
    except ImportError:
        return ImageFont.load_default(size)
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)
