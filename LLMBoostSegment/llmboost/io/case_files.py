"""Which files of a folder are volumes, and which of them belong to one case."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from .image import READABLE, VOLUMES
from .segnrrd import EXTENSION


def volume_files(folder: Path, ending: str = "") -> Sequence[Path]:
    """The files of volumes in a folder, by name, of all kinds, or, with segmentations, of one; none if there is no such
    folder."""
    wanted = (ending, EXTENSION) if ending else tuple(VOLUMES)
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name.lower().endswith(wanted) and not path.name.startswith(".")
    )


def group_channels(paths: Iterable[Path], channels: int, labeled: Container[str] = ()) -> dict[str, list[Path]]:
    """Files by case: by name, or, if all are named as nnU-Net names channels (CASE_0000, CASE_0001), by CASE.

    ``labeled`` are ids known to be cases, whatever they look like.
    """
    paths = sorted(paths)
    endings = [f"_{channel:04d}" for channel in range(channels)]
    ids = [case_id(path) for path in paths]
    numbered = all(id[-5:] in endings and id not in labeled for id in ids)
    grouped: dict[str, list[Path]] = {}
    for path, id in zip(paths, ids, strict=True):
        grouped.setdefault(id[:-5] if numbered else id, []).append(path)
    return grouped


def case_id(path: Path) -> str:
    """A case's id: its file name without the extension."""
    return next((path.name[: -len(end)] for end in READABLE if path.name.lower().endswith(end)), path.stem)
