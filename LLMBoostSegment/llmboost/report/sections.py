"""What reports on segmenters and on classifiers share."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..card import Card, Label
from ..files import write_whole
from .page import Cell, hint, page, picture, section, table, text

SPLITS = {"train": "training", "val": "validation"}  # as words
MOST_CASES = 200  # of the table of cases, the worst first


@dataclass(frozen=True)
class Training:
    """What a report tells of how its model came about: the picture of its curve, and what was told at the start."""

    curve: Path | None = None
    plan: Sequence[str] = ()


def write(
    path: Path, card: Card, result: Mapping[str, Any], of: str, sections: Sequence[str], training: Training | None
) -> None:
    """Write the sections as a page, whole or not at all; ``of`` is what was measured. Raises LLMBoostError."""
    words = f"{SPLITS.get(result['split'], result['split'])} {of} of {result['dataset']}"
    plan = section("Plan", *(f"<p>{text(line)}</p>" for line in training.plan)) if training and training.plan else ""
    title = f"{card.name}: {'training' if training else 'measured'}"
    whole = page(title, f"{card.title}, measured on the {words}", [*sections, plan, _settings(card)])
    write_whole(path, whole.encode())


def summary(
    card: Card,
    measures: Sequence[tuple[str, float | None, Sequence[float] | None, int]],
    count: tuple[int, str, str],
    warnings: Sequence[str],
    over: str,
) -> str:
    """The figures that matter most, and what makes them doubtful.

    Args:
        measures: name, value, 95 % interval and digits of each.
        count: how many were measured, of what, and more about it.
        over: what intervals are over.
    """
    tiles = []
    for name, value, interval, digits in measures:
        around = f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}" if interval else "no interval"
        tiles.append((figure(value, digits), name, around if value is not None else ""))
    tiles.append((str(count[0]), *count[1:]))
    shown = "".join(
        f'<div class="tile"><b>{text(value)}</b>{text(name)}<br><span class="hint">{text(more)}</span></div>'
        for value, name, more in tiles
    )
    lines = "".join(
        f'<p class="warning">{text(line)}</p>' for line in [*([card.doubts] if card.doubts else []), *warnings]
    )
    return section("Summary", f'<div class="tiles">{shown}</div>', lines, hint(f"Below: 95 % interval over {over}."))


def curve(path: Path | None) -> str:
    if path is None or not path.is_file():
        return ""
    return section("Learning curve", picture(base64.b64encode(path.read_bytes()).decode(), "learning curve", "curve"))


def share(count: int, total: int, right: bool) -> Cell:
    if not total:
        return Cell("-", "share")
    part = count / total
    color = "46, 125, 80" if right else "200, 70, 40"
    depth = 0.55 * part if right else min(2 * part, 0.7)
    shown = "0" if not count else "&lt; 0.1 %" if part < 0.001 else f"{100 * part:.1f} %"
    return Cell(shown, "share", f"background: rgba({color}, {depth:.2f})")


def named(label: Label) -> Cell:
    red, green, blue = label.color
    return Cell(f'<span class="swatch" style="background: rgb({red}, {green}, {blue})"></span>{text(label.name)}')


def figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _settings(card: Card) -> str:
    told = {key: value for key, value in card.training.items() if isinstance(value, (str, int, float))}
    config = card.training.get("config")
    own = card.network.get("network")
    network = {"members": card.network["members"], **own} if isinstance(own, dict) else card.network
    booster = card.booster.get("description", "none") if card.booster else "none"
    rows = [
        *told.items(),
        *(config.items() if isinstance(config, dict) else ()),
        *((f"network: {key}", value) for key, value in network.items()),
        ("booster", booster),
        ("spacing (mm)", card.preprocessing.spacing),
        ("patch (voxels)", card.preprocessing.patch_size),
        ("digest", card.digest[:16]),
    ]
    return section(
        "Settings and versions", table(["", ""], [(key, Cell(text(_short(value)), "word")) for key, value in rows])
    )


def _short(value: object) -> str:
    shown = str(value)
    return shown if len(shown) <= 120 else shown[:120] + "..."
