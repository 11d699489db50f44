"""From what another program wrote to a model file in the user's library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import torch

from ..card import SEGMENTATION, Card, with_codes
from ..errors import LLMBoostError
from ..files import printable
from ..library import free_place
from ..model import save_model
from ..networks import describe
from . import monai, nnunet
from .archive import opened
from .translation import Translation

_FILES = (".pth", ".pt", ".json", ".yaml", ".yml", ".csv")  # one of them names the folder that it lies in


def import_foreign(
    path: Path, *, name: str = "", folds: str | None = None, terms: str = "", orientation: str = ""
) -> Card:
    """Translate what nnU-Net v2, MONAI's bundles or Auto3DSeg hold into a model in the user's folder.

    Args:
        path: any level of nnU-Net's folder of results, a bundle's folder, a folder of Auto3DSeg, or a zip archive of
            one of these.
        name: the model's; by default the data set's and the configuration's, or the folder's.
        folds: see :func:`.translation.chosen`; several answer together.
        terms: the license under which the weights are used; needed where the folder does not tell one.
        orientation: of the images that an nnU-Net was trained on, "RAS" or "stored"; by default, as the folder tells.

    Raises:
        LLMBoostError: nothing of that kind is there, it cannot be translated, no license is told, or there is a model
            of that name.
    """
    path = path.parent if path.suffix in _FILES else path
    with opened(path, wanted) as folder:
        found = _found(folder, path, folds, orientation)
        if len(found) != 1:
            names = ", ".join(found) or "none"
            raise LLMBoostError(
                f"{path}: one model of nnU-Net, MONAI's bundles or Auto3DSeg is expected, there is {names}; name one"
            )
        ((_, translate),) = found.items()
        if name:
            free_place(name, path)  # a mistake is told before much is read
        translation = translate()
    target = free_place(name or translation.card.name, path)
    if not (terms or translation.card.license):
        told = f"tells its license as '{translation.terms}'" if translation.terms else "tells no license"
        raise LLMBoostError(f"{path}: {told}; read it where you got it, and give it, such as --license Apache-2.0")
    entry, booster = describe(translation.network)
    labels = translation.card.labels
    card = replace(
        translation.card,
        name=target.stem,
        labels=with_codes(labels) if translation.card.task == SEGMENTATION else labels,
        network=entry,
        booster=booster,
        license=terms or translation.card.license,
    )
    try:
        card = Card.from_json(card.to_json(), str(path))  # whatever a description says, the card is checked
    except ValueError as error:
        raise LLMBoostError(f"{path}: tells numbers that are none") from error
    return save_model(translation.network, card, target, torch.float32)


@dataclass(frozen=True)
class AtHand:
    """A model that another program keeps on this machine.

    Attributes:
        program, source: as :class:`..card.Origin` would have them.
        checkpoints: by fold.
    """

    program: str
    source: str
    folder: Path
    checkpoints: dict[str, Path]


def models_at_hand() -> list[AtHand]:
    """What lies where nnU-Net, TotalSegmentator, MONAI and SlicerMONAIAuto3DSeg keep their models; what is not whole is
    left out."""
    return [
        *(
            AtHand(nnunet.PROGRAM, f"{one.folder.parent.name}/{one.folder.name}", one.folder, one.checkpoints)
            for one in nnunet.results_at_hand()
        ),
        *(
            AtHand(monai.BUNDLE, one.folder.name.lower(), one.folder, {"": file})
            for one in monai.bundles_at_hand()
            for file in sorted(one.folder.glob("models/*.pt"))[:1]
        ),
        *(
            AtHand(monai.AUTO3DSEG, one.folder.name.lower(), one.folder, one.checkpoints)
            for one in monai.auto3dseg_at_hand()
        ),
    ]


def wanted(member: PurePosixPath) -> bool:
    """Which files of an archive are needed."""
    return nnunet.wanted(member) or monai.wanted(member)


def _found(folder: Path, path: Path, folds: str | None, orientation: str) -> dict[str, Callable[[], Translation]]:
    """By name, what could be translated."""

    def short(place: Path) -> str:
        return printable(path.stem if place == folder else place.name).lower()

    bundles = {short(one.folder): one for one in monai.find_bundles(folder)}
    segresnets = {short(one.folder): one for one in monai.find_auto3dseg(folder)}
    nets = {printable(one.folder.name): one for one in nnunet.find_results(folder)}
    if (bundles and (folds or orientation)) or (segresnets and orientation):
        raise LLMBoostError(f"{path}: {'a bundle' if bundles else 'Auto3DSeg'} has no folds or orientation to choose")
    return {
        **{name: partial(nnunet.translate, one, folds, orientation, path) for name, one in nets.items()},
        **{name: partial(monai.translate_bundle, one, name) for name, one in bundles.items()},
        **{name: partial(monai.translate_auto3dseg, one, folds, name) for name, one in segresnets.items()},
    }
