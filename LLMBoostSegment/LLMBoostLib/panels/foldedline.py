"""The header of a section that tells, while it is folded, what is chosen in it."""

from __future__ import annotations

from typing import Any

from .plaintext import tip


class FoldedLine:
    """What is chosen in one line; open, the section has its own title.

    Args:
        foldable: the section, a ctkCollapsibleButton.
        lengths: letters that are seen of each thing that is chosen: together no wider than a panel.
    """

    def __init__(self, foldable: Any, *lengths: int) -> None:
        self._button, self._lengths, self._title = foldable, lengths, foldable.text
        self._chosen: tuple[str, ...] = ()
        self._line = ""
        foldable.connect("contentsCollapsed(bool)", self._showHeader)

    def fold(self, folded: bool) -> None:
        """To one line, or open it."""
        self._button.collapsed = folded

    def show(self, *texts: str) -> None:
        """What is chosen, by name; empty where nothing is."""
        self._chosen = tuple(filter(None, texts))
        self._line = " · ".join(
            shortened(text, length) for text, length in zip(texts, self._lengths, strict=True) if text
        )
        self._showHeader(self._button.collapsed)

    def _showHeader(self, folded: bool) -> None:
        isTold = folded and bool(self._chosen)
        self._button.text = self._line.replace("&", "&&") if isTold else self._title
        self._button.toolTip = tip(" · ".join(self._chosen)) if isTold else ""


def shortened(text: str, length: int) -> str:
    """So many letters of a name, its beginning and its end."""
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 1]}…{text[-end:]}"
