"""A folder of nnU-Net's results as a model of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...card import RAS, SEGMENTATION, Card, Origin
from ...errors import LLMBoostError
from ...files import digest_of, printable
from ...jsonfile import read_json
from ...networks.ensemble import Ensemble
from ..checkpoint import read_checkpoint
from ..translation import Translation, chosen, filled
from .folder import Results
from .plans import TILING, Plan, read_plan
from .weights import network_weights

# of a folder: TotalSegmentator turns images to R, A, S before its networks see them, which plans.json does not say
_TURNED = re.compile(r"(^|/)\.totalsegmentator/|_TotalSegmentator", re.IGNORECASE)
PROGRAM = "nnU-Net v2"
_NUMBER = re.compile(r"^Dataset\d+_")


def translate(results: Results, folds: str | None, orientation: str, path: Path) -> Translation:
    """A configuration as a model of ours.

    Args:
        folds: see :func:`..translation.chosen`; several answer together.
        orientation: of the images that the network was trained on; empty: as the folder tells.
        path: that the user named.

    Raises:
        LLMBoostError: it cannot be translated, with the reason.
    """
    plans, dataset = (read_json(results.folder / file) for file in ("plans.json", "dataset.json"))
    checkpoints = chosen(results.checkpoints, folds, results.folder)
    contents = [read_checkpoint(file) for file in checkpoints.values()]
    plan = read_plan(plans, dataset, results, _training(contents, results.folder))
    members = [_network(content, plan, file) for content, file in zip(contents, checkpoints.values(), strict=True)]
    digests = {f"{file.parent.name}/{file.name}": digest_of(file) for file in checkpoints.values()}
    turned = RAS if _TURNED.search(f"{path.absolute().as_posix()}/{plan.name}") else plan.preprocessing.orientation
    short = _NUMBER.sub("", plan.name)
    card = Card(
        name=f"{short.lower()}-{plan.configuration}",
        title=f"{short.replace('_', ' ')} (nnU-Net {plan.configuration})",
        description=printable(str(dataset.get("description") or f"Trained with nnU-Net, {plan.configuration}")),
        task=SEGMENTATION,
        labels=plan.labels,
        modality=plan.modality,
        preprocessing=replace(plan.preprocessing, orientation=orientation or turned),
        network={},
        booster={},
        tiling=TILING,
        activation=plan.activation,
        origin=Origin(PROGRAM, f"{plan.name}/{results.folder.name}", digests),
        license=plan.license,
        citation=printable(str(dataset.get("reference") or "")),
        training={"folds": list(checkpoints), "trainer": printable(str(contents[0].get("trainer_name", "")))},
    )
    return Translation(members[0] if len(members) == 1 else Ensemble(members, TILING.average), card)


def _training(contents: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
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


def _network(content: Mapping[str, Any], plan: Plan, file: Path) -> nn.Module:
    """The network of one checkpoint."""
    state = content.get("network_weights")
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise LLMBoostError(f"{file}: holds no weights of nnU-Net v2")
    try:
        weights = network_weights(state, plan.axes)
    except (RuntimeError, ValueError) as error:  # tensors of other axes
        reason = printable(str(error).strip().splitlines()[-1])
        raise LLMBoostError(f"{file}: its weights are not those of the network in plans.json ({reason})") from error
    return filled(plan.network, weights, file, "plans.json")
