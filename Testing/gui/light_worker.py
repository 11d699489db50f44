"""The real worker with an engine that needs no torch, for what may happen to the panel: `light_worker.py GATE [HOW]`.

A slow run goes on until the file GATE exists.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from llmboost import library, worker
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.service import Job, RequestError
from llmboost.wire import unpack_volumes

STEPS = 10
DIGEST = "sha256:" + read_card(library.find("hippocampus")).digest  # what a remote worker knows the model by
SLOW = 600.0  # seconds: such a run ends by cancel only, or once the gate is open


def segment(job: Job):
    """Each label is a quarter of the image along k; ``HOW`` tells what happens on the way."""
    if HOW == "crash":
        print("the GPU fell off the bus", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "memory":
        raise MemoryError
    if HOW == "refuse":
        raise RequestError("not_available", "torch is not installed", "Install it under Advanced")
    if HOW == "deaf":
        job.progress(0.1, "segmenting", 2_000_000_000)
        time.sleep(SLOW)
    card = read_card(library.find(job.fields["model"].replace(DIGEST, "hippocampus")))
    (volume, *_) = unpack_volumes(job.fields["geometry"], job.arrays)
    if not np.isfinite(volume.array).all():
        raise LLMBoostError("the volume holds NaN or infinite voxels; replace them by numbers")
    for step in range(STEPS):
        job.progress(step / STEPS, "segmenting", 2_000_000_000)
        deadline = time.monotonic() + (SLOW / STEPS if HOW == "slow" else 0)
        while time.monotonic() < deadline and not GATE.exists():
            if job.cancelled():
                return {}, {}
            time.sleep(0.005)
    return answer(job, card, volume)


def answer(job: Job, card, volume):
    labelmap = np.zeros(volume.array.shape, np.uint8)
    for number, label in enumerate(card.labels, start=1):
        quarter = slice(number * len(labelmap) // 4, (number + 1) * len(labelmap) // 4)
        labelmap[quarter, 1:-1, 1:-1] = label.value
    voxel = float(np.prod(volume.spacing)) / 1000
    fields = {
        "labels": [{"value": x.value, "name": x.name, "color": x.color, "terminology": ""} for x in card.labels],
        "classes": [{"value": x.value, "name": x.name} for x in card.labels],
        "volumes_ml": {x.name: voxel * int((labelmap == x.value).sum()) for x in card.labels},
        "seconds": 0.5,
        "warnings": ["Posterior hippocampus was not found"] if HOW == "warn" else [],
        "provenance": {"LLMBoost.Model": card.name, "LLMBoost.Notice": "Not for clinical use"},
    }
    arrays = {"labelmap": labelmap}
    if job.fields["uncertainty"]:
        arrays["entropy"] = (labelmap > 0).astype(np.uint8) * 200
    return fields, arrays


if __name__ == "__main__":
    GATE, HOW = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    worker.main({"segment": segment})
