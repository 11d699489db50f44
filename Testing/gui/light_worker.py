"""The real worker with an engine that needs no torch, for what may happen to the panel: `light_worker.py GATE [HOW]`.

A slow run goes on until the file GATE exists; ``slow-explain`` is one whose explanations alone are slow.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from llmboost import library, worker
from llmboost.card import Flag, Origin, Pair, Volumetry, read_card, write_card
from llmboost.errors import LLMBoostError
from llmboost.handlers.dicom import dicom
from llmboost.handlers.report import report
from llmboost.messages.dicom import DicomRequest
from llmboost.messages.foreign import Imported, ImportRequest, LookRequest, ModelOffer, Offers
from llmboost.messages.images import (
    ClassChance,
    ClassifyAnswer,
    ClassifyRequest,
    DrawnLabel,
    ExplainAnswer,
    ExplainRequest,
    ExplanationMap,
    KnownRange,
    LabelMaps,
    Named,
    SegmentAnswer,
    SegmentRequest,
    SliceChances,
)
from llmboost.messages.report import ReportRequest
from llmboost.messages.words import ErrorKind
from llmboost.service import Job, RequestError

STEPS = 10
DIGEST = "sha256:" + read_card(library.find("hippocampus")).digest  # what a remote worker knows the model by
QUALITY = {
    "good": Flag(0.87, False, 0.8, "agreement: Dice 0.87", {"Anterior hippocampus": 0.91}),
    "poor": Flag(0.55, True, 0.8, "agreement: Dice 0.55: look <closely>"),
}
SLOW = 600.0  # seconds: such a run ends by cancel only, or once the gate is open


def segment(job: Job[SegmentRequest]) -> SegmentAnswer:
    """Each label is a quarter of the image along k; in an image that needs the model's cascade, a block on its side."""
    return answer(job, *compute(job, "segmenting", slow=HOW == "slow"))


def compute(job: Job, text: str, slow: bool):
    """The model's card and the first volume; ``HOW`` tells what happens on the way."""
    if HOW == "crash":
        print("the GPU fell off the bus", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "memory":
        raise MemoryError
    if HOW == "refuse":
        raise RequestError(ErrorKind.NOT_AVAILABLE, "torch is not installed", "Install it under Advanced")
    if HOW == "deaf":
        job.progress(0.1, text, 2_000_000_000)
        time.sleep(SLOW)
    importing = isinstance(job.request, ImportRequest)
    name = "hippocampus" if importing else job.request.model.replace(DIGEST, "hippocampus")
    card, volume = read_card(library.find(name)), None if importing else job.request.volumes[0]
    if volume is not None and not np.isfinite(volume.array).all():
        raise LLMBoostError("the volume holds NaN or infinite voxels; replace them by numbers")
    for step in range(STEPS):
        job.progress(step / STEPS, text, 2_000_000_000)
        deadline = time.monotonic() + (SLOW / STEPS if slow else 0)
        while time.monotonic() < deadline and not GATE.exists():
            if job.cancelled():
                raise RequestError(ErrorKind.CANCELLED, "cancelled")
            time.sleep(0.005)
    return card, volume


def answer(job: Job, card, volume):
    labelmap = np.zeros(volume.array.shape, np.uint8)
    labels = card.labels
    if card.needs_cascade(np.multiply(volume.array.shape[::-1], volume.spacing)):
        labels = card.sided_labels
        drawSides(labelmap, labels, volume)
    else:
        for number, label in enumerate(labels, start=1):
            quarter = slice(number * len(labelmap) // 4, (number + 1) * len(labelmap) // 4)
            labelmap[quarter, 1:-1, 1:-1] = label.value
    voxel = float(np.prod(volume.spacing)) / 1000
    return SegmentAnswer(
        labelmap=labelmap,
        labels=tuple(DrawnLabel(x.value, x.name, x.color) for x in labels),
        classes=tuple(LabelMaps(x.value, x.name) for x in card.labels),
        volumes_ml={x.name: voxel * int((labelmap == x.value).sum()) for x in labels},
        volumetry=compared(card, labels),
        entropy=(labelmap > 0).astype(np.uint8) * 200 if job.request.uncertainty else None,
        quality=QUALITY.get(HOW),
        explanation=mapOf(card, volume, job.request.explain, labels[0]),
        seconds=0.5,
        warnings=("Posterior hippocampus was not found",) if HOW == "warn" else ("fast",) * job.request.fast,
        provenance=provenance(card),
    )


def compared(card, labels) -> Volumetry:
    """What an engine compares, by names alone."""
    names = [x.name for x in labels]
    parts = [name.removeprefix("Left ") for name in names if name.startswith("Left ")]
    pairs = tuple(Pair(part, f"Left {part}", f"Right {part}") for part in parts if f"Right {part}" in names)
    return Volumetry(pairs, tuple(x.name for x in labels if x.value in card.intracranial))


def drawSides(labelmap, labels, volume) -> None:
    """Blocks of 10 voxels behind one another, a quarter of the image's width to the left and to the right."""
    k, j, i = (n // 2 for n in labelmap.shape)
    toLeft = 1 if volume.direction[0, 0] > 0 else -1  # along i: LPS
    for number, label in enumerate(labels):
        side = toLeft if label.name.startswith("Left") else -toLeft
        middle, front = i + side * (labelmap.shape[2] // 4), j + 12 * (number % 2)
        labelmap[k - 5 : k + 5, front : front + 10, middle - 5 : middle + 5] = label.value


def classify(job: Job[ClassifyRequest]) -> ClassifyAnswer:
    """The brighter the middle of the image (of 0 to 200), the more probable the second class."""
    card, volume = compute(job, "classifying", slow=HOW == "slow")
    k = job.request.slice_number
    chances = [float(plane[plane.shape[0] // 2, plane.shape[1] // 2]) / 200 for plane in volume.array]
    slices = [(k, chances[k])] if k is not None else list(enumerate(chances))
    isFlat = card.preprocessing.slice_axis is not None
    chance = max(chance for _, chance in slices) if isFlat else chances[len(chances) // 2]
    second = chance >= card.classification.thresholds[0]
    isForeign = HOW in ("outside", "foreign")
    refused = HOW == "foreign" and not job.request.anyway
    return ClassifyAnswer(
        refused=refused,
        classes=tuple(
            ClassChance(label.value, label.name, each)
            for label, each in zip(card.labels, spread(chance, len(card.labels)), strict=True)
            if not refused
        ),
        decision=() if refused else (card.labels[int(second)].name,),
        positive=card.classification.positive,
        threshold=card.classification.thresholds[0],
        slices=tuple(SliceChances(n, spread(each, len(card.labels))) for n, each in slices if isFlat and not refused),
        explanation=None if refused else mapOf(card, volume, job.request.explain, card.labels[int(second)]),
        range=KnownRange(3.0, 2.0, ("it is too bright",) if isForeign else ()),
        seconds=0.25,
        warnings=("the image was stretched",) if HOW == "warn" else (),
        provenance=provenance(card),
    )


def explain(job: Job[ExplainRequest]) -> ExplainAnswer:
    """Where the image is bright, for each target in its own way."""
    if HOW == "no-explanation":
        raise RequestError(ErrorKind.NOT_AVAILABLE, "this model cannot be explained", "Choose another")
    card, volume = compute(job, "explaining", slow=HOW in ("slow", "slow-explain"))
    if HOW == "foreign" and not job.request.anyway:
        raise LLMBoostError("not an image that the model knows")
    return ExplainAnswer(
        explanation=mapOf(card, volume, job.request.explain),
        seconds=0.25,
        warnings=("the map is the same everywhere",) if HOW == "warn" else (),
        provenance=provenance(card),
    )


def look(job: Job[LookRequest]) -> Offers:
    """A model a file or folder in the folder that is named, and one in an archive; in "bad" ones, none."""
    path = Path(job.request.path)
    if "bad" in path.name:
        raise LLMBoostError(f"{path}: no model that can be imported is in it; choose the folder that holds its files")
    found = (sorted(path.iterdir()) if path.is_dir() else []) or [path]
    offers = (
        ModelOffer(str(one), f"{one.stem}, 3d_fullres", "nnU-Net v2", ("0", "1") if "folds" in one.name else ("0",),
                   "" if "own" in one.name else "CC0")
        for one in (found if job.request.path else [])
    )  # fmt: skip
    return Offers(tuple(offers))


def importModel(job: Job[ImportRequest]) -> Imported:
    """The shipped model under the name that is asked for, with what was asked in its card."""
    compute(job, "reading", slow=HOW == "slow-import")
    request, source = job.request, library.find("hippocampus")
    name = request.name or Path(request.path).stem
    card = replace(
        read_card(source),
        name=name,
        title=f"Model {name}",
        cascade=None,
        license=request.terms or "CC0",
        citation=f"folds {request.folds}",
        origin=Origin("nnU-Net v2", request.path, {}),
    )
    target = library.free_place(name, Path(request.path))
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)
    write_card(target, card)
    return Imported(card, 2.0)


def mapOf(card, volume, what, first=None):
    """The map that is asked for, if one is; of ``first`` where that is left open."""
    if what is None:
        return None
    target = first.value if what.target is None else what.target
    name = first.name if first else next((x.name for x in card.labels if x.value == target), f"label {target}")
    array = np.full(volume.array.shape, 50 * (target + 1), np.uint8)
    return ExplanationMap(Named(target, name), what.method, what.layer, array)


def spread(chance: float, count: int) -> tuple[float, ...]:
    """``chance`` for the second class, and the rest for the others."""
    return tuple(chance if n == 1 else (1 - chance) / (count - 1) for n in range(count))


def provenance(card) -> dict[str, str]:
    return {"LLMBoost.Model": card.name, "LLMBoost.Notice": "Not for clinical use"}


if __name__ == "__main__":
    GATE, HOW = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    worker.main(
        {
            SegmentRequest: segment,
            ClassifyRequest: classify,
            ExplainRequest: explain,
            LookRequest: look,
            ImportRequest: importModel,
            ReportRequest: partial(report, SimpleNamespace(path=library.find)),
            DicomRequest: partial(dicom, SimpleNamespace(path=library.find)),
        }
    )
