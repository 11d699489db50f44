"""What there is to import in a folder or an archive, told without reading weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..errors import LLMBoostError
from ..files import printable, visible
from ..jsonfile import read_json
from ..messages.foreign import ModelOffer
from . import monai, nnunet
from .archive import opened
from .importing import models_at_hand, wanted
from .monai.terms import read_terms


def offers(path: Path) -> list[ModelOffer]:
    """The models in a folder, at any level of it, or in a zip archive.

    Raises:
        LLMBoostError: there are none, one is not whole, or an archive cannot be used or holds several.
    """
    with opened(path, wanted) as folder:
        found = [
            *(_offer(one.folder, nnunet.PROGRAM, one.checkpoints) for one in nnunet.find_results(folder)),
            *(_offer(one.folder, monai.BUNDLE) for one in monai.find_bundles(folder)),
            *(_offer(one.folder, monai.AUTO3DSEG, one.checkpoints) for one in monai.find_auto3dseg(folder)),
        ]
        if not found:
            raise LLMBoostError(
                f"{path}: no model that can be imported is in it; choose the folder that holds its files"
            )
        if path.is_dir():
            return found
        if len(found) > 1:
            raise LLMBoostError(f"{path}: holds {len(found)} models; unpack it, and choose a folder")
        title = path.stem if Path(found[0].path) == folder else found[0].title
        return [replace(found[0], path=str(path), title=printable(title))]


def offers_at_hand() -> list[ModelOffer]:
    """The models that other programs keep on this machine; what is not whole is left out."""
    return [_offer(one.folder, one.program, filter(None, one.checkpoints)) for one in models_at_hand()]


def _offer(folder: Path, program: str, folds: Iterable[str] = ()) -> ModelOffer:
    title, terms = folder.name, read_terms(folder)[0]
    if program == nnunet.PROGRAM:
        title = f"{folder.parent.name}, {folder.name.rpartition('__')[2]}"
        dataset = read_json(folder / "dataset.json")
        told = dataset.get("license") or dataset.get("licence") if isinstance(dataset, dict) else ""
        terms = visible(str(told or ""))
    return ModelOffer(str(folder), printable(title), program, tuple(folds), terms)
