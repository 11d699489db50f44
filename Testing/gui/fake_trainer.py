"""The real worker with requests about cases that need no torch: `fake_trainer.py GATE [HOW]`.

The adapter that it writes is the base's file under another name, with a card that says so. A slow training goes on
until the file GATE exists, or until it is told to finish; a file GATE.pid holds the number of its process.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import platform
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np

from llmboost import library, worker
from llmboost.card import METADATA_KEY, Adapter, Card, read_card, read_header
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset
from llmboost.messages.cases import (
    AdaptAnswer,
    AdaptRequest,
    CaseDice,
    CrossCheckAnswer,
    CrossCheckRequest,
    HeldOutFigures,
    OldTask,
    RankedCase,
    Ranking,
    RankRequest,
)
from llmboost.messages.images import SegmentAnswer, SegmentRequest
from llmboost.messages.words import ErrorKind, StopReason
from llmboost.messages.worker import PlanEvent, StepEvent, ValidationEvent
from llmboost.service import Job, RequestError

STEPS = 40
SLOW = 600.0


def adapt(job: Job[AdaptRequest]) -> AdaptAnswer:
    """Streams a loss that falls and a Dice that rises; ``HOW`` tells what happens on the way."""
    dataset, output = read_dataset(Path(job.request.dataset)), Path(job.request.output)
    seen = {case.id: load(case) for case in dataset.cases.values()}
    base = read_card(library.find(job.request.base))
    held = dataset.splits["val"]
    job.progress(0.0, "reading", event=PlanEvent((f"{len(seen)} cases",), tuple(held)))
    GATE.with_suffix(".pid").write_text(str(os.getpid()))
    run = output.with_suffix(".run")
    told = json.dumps(sorted(seen))
    if job.request.resume and (run / "adapt.json").read_text() != told:
        raise LLMBoostError(f"{run}: of a run that ended and is another one; start it as it was started")
    step, stopped, started = 0, StopReason.BUDGET, time.monotonic()
    for step in range(1, STEPS + 1):
        if job.cancelled():
            raise RequestError(ErrorKind.CANCELLED, "cancelled")
        if job.finishing():
            stopped = StopReason.FINISH
            break
        if HOW == "crash" and step == 5:
            print("killed by the system", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if HOW == "deaf" and step == 20:
            time.sleep(SLOW)
        done = step / STEPS
        job.progress(done, "training", 500_000_000, event=StepEvent(step, 1.5 / (1 + 0.1 * step), done))
        if step % 10 == 0:
            dice = 0.6 + 0.005 * step
            labels = dict(zip((label.name for label in base.labels), (dice + 0.02, dice - 0.02), strict=True))
            job.progress(done, "checking", 500_000_000, event=ValidationEvent(step, "dice", dice, dice, labels))
        deadline = time.monotonic() + (SLOW / STEPS if HOW == "slow" and step == 12 else 0.02)
        while time.monotonic() < deadline and not (GATE.exists() or job.cancelled() or job.finishing()):
            time.sleep(0.005)
    if HOW == "full":
        raise LLMBoostError(f"{output}: cannot be written ({os.strerror(errno.ENOSPC)}); check the free space")
    if HOW == "nan":
        raise LLMBoostError("training failed at step 40: the loss is not a number; add cases")
    for case in dataset.cases.values():  # nobody touched the files meanwhile
        again = load(case)
        assert all(np.array_equal(a.array, b.array) for a, b in zip(seen[case.id][0], again[0], strict=True))
        assert case.label is None or np.array_equal(seen[case.id][1].array, again[1].array)
    before, after = measured(held, 0.62, 0.58), measured(held, 0.81, 0.79)
    if job.request.resume:
        after = measured(held, 0.91, 0.89)
    run.mkdir(exist_ok=True)
    (run / "adapt.json").write_text(told)
    if HOW == "useless":
        after = measured(held, 0.04, 0.02)
    card = write(base, output, len(dataset.splits["train"]), before.mean_dice, after.mean_dice)
    return AdaptAnswer(
        str(output),
        card,
        before,
        after,
        OldTask(0.88, 0.879) if HOW == "old" else None,
        step,
        time.monotonic() - started,
        stopped,
        () if held else ("too few cases to hold one out",),
    )


def cross_check(job: Job[CrossCheckRequest]) -> CrossCheckAnswer:
    """Goes through folds; each case is worse than the one before."""
    dataset, output = read_dataset(Path(job.request.dataset)), Path(job.request.output)
    ids = dataset.splits["train"] + dataset.splits["val"]
    count = job.request.folds or len(ids)
    for step in range(1, STEPS + 1):
        if job.cancelled():
            raise RequestError(ErrorKind.CANCELLED, "cancelled")
        fold = min(step * count // STEPS, count - 1) + 1
        job.progress(step / STEPS, f"network {fold} of {count}: step {step}, loss 0.500", 500_000_000)
        deadline = time.monotonic() + (SLOW if HOW == "slow" and step == 20 else 0.02)
        while time.monotonic() < deadline and not (GATE.exists() or job.cancelled()):
            time.sleep(0.005)
    cases = tuple(CaseDice(id, {"1": 0.9 - n / 10, "2": 0.8 - n / 10}) for n, id in enumerate(ids))[::-1]
    mean = sum(sum(case.dice.values()) for case in cases) / (2 * len(cases))
    return CrossCheckAnswer(read_card(output), HeldOutFigures(cases, mean), count, 1.0, ("a label is rare",))


def measured(held: list[str], first: float, second: float) -> HeldOutFigures:
    """The same Dice of two labels on each case."""
    cases = tuple(CaseDice(id, {"1": first, "2": second}) for id in held)
    return HeldOutFigures(cases, round((first + second) / 2, 3) if held else None)


def write(base: Card, output: Path, count: int, before: float | None, after: float | None) -> Card:
    """The base's own tensors, with the card of an adapter."""
    source = library.find(base.name)
    adapter = Adapter(base.name, base.version, base.digest, 8, tuple("0" * 64 for _ in range(count)))
    card = dataclasses.replace(
        base,
        name=output.stem,
        title=f"{base.title}, adapted",
        adapter=adapter,
        figures={"before": before, "after": after},
    )
    header = read_header(source)
    start = 8 + struct.unpack("<Q", source.open("rb").read(8))[0]
    header["__metadata__"][METADATA_KEY] = card.to_json()
    text = json.dumps(header).encode()
    output.write_bytes(struct.pack("<Q", len(text)) + text + source.read_bytes()[start:])
    return card


def rank_cases(job: Job[RankRequest]) -> Ranking:
    cases = read_dataset(Path(job.request.dataset)).cases.values()
    ids = [case.id for case in cases if case.label is None]
    return Ranking(tuple(RankedCase(id, 1 / (n + 1), 0.5 / (n + 1), 0.9) for n, id in enumerate(ids)))


def segment(job: Job[SegmentRequest]) -> SegmentAnswer:
    """As the light worker does, whatever the model."""
    sys.path.append(str(Path(__file__).parent))
    import light_worker

    light_worker.HOW, light_worker.GATE = "", GATE
    job.request = dataclasses.replace(job.request, model="hippocampus")
    return light_worker.segment(job)


if __name__ == "__main__":
    GATE, HOW = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    if HOW == "remote":
        platform.node = lambda: "gpu-box"
    worker.main({AdaptRequest: adapt, CrossCheckRequest: cross_check, RankRequest: rank_cases, SegmentRequest: segment})
