"""From what another program wrote to a model file in the user's library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..card import RAS, SEGMENTATION, Card, Origin, with_codes
from ..errors import LLMBoostError
from ..files import digest_of, printable
from ..jsonfile import read_json
from ..library import free_place
from ..model import save_model
from ..networks import build, describe
from ..networks.ensemble import Ensemble
from . import nnunet
from .archive import opened
from .checkpoint import check_size, read_checkpoint

# of a folder: TotalSegmentator turns images to R, A, S before its networks see them, which plans.json does not say
_TURNED = re.compile(r"(^|/)\.totalsegmentator/|_TotalSegmentator", re.IGNORECASE)
_NUMBER = re.compile(r"^Dataset\d+_")


def import_foreign(
    path: Path, *, name: str = "", folds: str | None = None, terms: str = "", orientation: str = ""
) -> Card:
    """Translate a trained nnU-Net v2 into a model in the user's folder.

    Args:
        path: any level of nnU-Net's folder of results, or a zip archive of it.
        name: the model's; by default the data set's and the configuration's.
        folds: see :meth:`.nnunet.Results.chosen`; several answer together.
        terms: the license under which the weights are used; needed where the folder does not tell one.
        orientation: of the images that the network was trained on, "RAS" or "stored"; by default, as the folder tells.

    Raises:
        LLMBoostError: nothing of that kind is there, it cannot be translated, no license is told, or there is a model
            of that name.
    """
    path = path.parent if path.suffix in (".pth", ".json") else path  # a file of it names the folder
    with opened(path, nnunet.wanted) as folder:
        found = nnunet.find_results(folder)
        if len(found) != 1:
            names = ", ".join(printable(one.folder.name) for one in found) or "none"
            raise LLMBoostError(f"{path}: one folder of nnU-Net's results is expected, there is {names}; name one")
        (results,) = found
        plans, dataset = (read_json(results.folder / file) for file in ("plans.json", "dataset.json"))
        checkpoints = results.chosen(folds)
        contents = [read_checkpoint(file) for file in checkpoints.values()]
        plan = nnunet.read_plan(plans, dataset, results, _training(contents, results.folder))
        short = _NUMBER.sub("", plan.name)
        target = free_place(name or f"{short.lower()}-{plan.configuration}", path)
        if not (terms or plan.license):
            raise LLMBoostError(
                f"{path}: tells no license; look it up where you got it, and give it, such as --license Apache-2.0"
            )
        members = [_network(content, plan, file) for content, file in zip(contents, checkpoints.values(), strict=True)]
        digests = {f"{file.parent.name}/{file.name}": digest_of(file) for file in checkpoints.values()}
    turned = RAS if _TURNED.search(f"{path.absolute().as_posix()}/{plan.name}") else plan.preprocessing.orientation
    network = members[0] if len(members) == 1 else Ensemble(members, nnunet.TILING.average)
    entry, booster = describe(network)
    card = Card(
        name=target.stem,
        title=f"{short.replace('_', ' ')} (nnU-Net {plan.configuration})",
        description=printable(str(dataset.get("description") or f"Trained with nnU-Net, {plan.configuration}")),
        task=SEGMENTATION,
        labels=with_codes(plan.labels),
        modality=plan.modality,
        preprocessing=replace(plan.preprocessing, orientation=orientation or turned),
        network=entry,
        booster=booster,
        tiling=nnunet.TILING,
        activation=plan.activation,
        origin=Origin("nnU-Net v2", f"{plan.name}/{results.folder.name}", digests),
        license=terms or plan.license,
        citation=printable(str(dataset.get("reference") or "")),
        training={"folds": list(checkpoints), "trainer": printable(str(contents[0].get("trainer_name", "")))},
    )
    card = Card.from_json(card.to_json(), str(path))  # whatever a description says, the card is checked
    return save_model(network, card, target, torch.float32)


def _training(contents: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """What the checkpoints of several folds say alike of their training."""
    told = []
    for content in contents:
        arguments = content.get("init_args")
        axes = content.get("inference_allowed_mirroring_axes")
        if not isinstance(arguments, dict) or not isinstance(arguments.get("configuration"), str):
            raise LLMBoostError(f"{folder}: its checkpoints are not nnU-Net's (they do not tell their configuration)")
        told.append({"configuration": arguments["configuration"], "inference_allowed_mirroring_axes": list(axes or ())})
    if any(one != told[0] for one in told):
        raise LLMBoostError(f"{folder}: its folds were not trained alike; choose one with --fold")
    return told[0]


def _network(content: dict[str, Any], plan: nnunet.Plan, file: Path) -> nn.Module:
    """The network of one checkpoint."""
    state = content.get("network_weights")
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise LLMBoostError(f"{file}: holds no weights of nnU-Net v2")
    options = dict(plan.network)
    try:
        with torch.device("meta"):
            network = build(options.pop("name"), options, None)
        weights = nnunet.network_weights(state, plan.axes)
        check_size(weights, file)
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = printable(str(error).strip().splitlines()[-1])
        raise LLMBoostError(f"{file}: its weights are not those of the network in plans.json ({reason})") from error
    return network.eval()
