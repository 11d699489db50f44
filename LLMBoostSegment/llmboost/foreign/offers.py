"""What there is to import in a folder or an archive, told without reading weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import LLMBoostError
from ..files import printable, visible
from ..jsonfile import read_json
from ..messages.foreign import ModelOffer
from . import nnunet
from .archive import opened


def offers(path: Path) -> list[ModelOffer]:
    """The models in a folder, at any level of it, or in a zip archive.

    Raises:
        LLMBoostError: there are none, one is not whole, or an archive cannot be used or holds several.
    """
    with opened(path, nnunet.wanted) as folder:
        found = [_of_results(results) for results in nnunet.find_results(folder)]
    if not found:
        raise LLMBoostError(f"{path}: no model that can be imported is in it; choose the folder that holds its files")
    if path.is_dir():
        return found
    if len(found) > 1:
        raise LLMBoostError(f"{path}: holds {len(found)} models; unpack it, and choose a folder")
    return [replace(found[0], path=str(path))]


def offers_at_hand() -> list[ModelOffer]:
    """The models that other programs keep on this machine; what is not whole is left out."""
    return [_of_results(results) for results in nnunet.results_at_hand()]


def _of_results(results: nnunet.Results) -> ModelOffer:
    dataset = read_json(results.folder / "dataset.json")
    told = dataset.get("license") or dataset.get("licence") if isinstance(dataset, dict) else ""
    title = f"{results.folder.parent.name}, {results.folder.name.rpartition('__')[2]}"
    return ModelOffer(
        path=str(results.folder),
        title=printable(title),
        program="nnU-Net v2",
        folds=tuple(results.checkpoints),
        license=visible(str(told or "")),
    )
