"""Which of the unlabeled cases to label next: the question to the worker, and its data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmboost import library
from llmboost.card import Card, read_card

from ..worker.client import Answer, Client, Progress
from .casestore import EXTENSION, IMAGES, LABELS, CaseStore, link, newId, writeDataset
from .training import RUNS, ensureLocal, removeRun, whenLocal

Order = list[dict[str, Any]]


def start(
    client: Client,
    store: CaseStore,
    model: str,
    device: str,
    onProgress: Callable[[Progress], None] | None,
    onDone: Callable[[Order], None],
    onError: Callable[[Exception], None],
) -> None:
    """Rank in the background; one of ``onDone`` and ``onError`` will be called, once.

    Raises:
        LLMBoostError: packages are missing and were not installed, or the worker's command cannot be read.
    """
    run = store.folder / RUNS / newId()

    def failed(error: Exception) -> None:
        removeRun(run)
        onError(error)

    def done(answer: Answer) -> None:
        removeRun(run)
        onDone(answer.fields["order"])

    def ready() -> None:
        try:
            client.start("rank_cases", _fields(store, model, device, run), None, onProgress, done, failed)
        except Exception as error:
            failed(error)

    whenLocal(client, ready, failed)


def call(
    client: Client, store: CaseStore, model: str, device: str, onProgress: Callable[[Progress], None] | None
) -> Order:
    """Rank, and wait; raises LLMBoostError or WorkerError."""
    run = store.folder / RUNS / newId()
    ensureLocal(client)
    try:
        return client.call("rank_cases", _fields(store, model, device, run), None, onProgress).fields["order"]
    finally:
        removeRun(run)


def _fields(store: CaseStore, model: str, device: str, run: Path) -> dict[str, Any]:
    dataset = _write(store, read_card(library.find(model)), run)
    return {"model": model, "dataset": str(dataset), "device": device}


def _write(store: CaseStore, card: Card, folder: Path) -> Path:
    """All images beside each other: those without labels are ranked, the others tell what is known already."""
    for case in store.cases.values():
        link(store.image(case), folder / IMAGES / (case.id + EXTENSION))
        if case.labelled:
            link(store.labels(case), folder / LABELS / (case.id + EXTENSION))
    labels = {"0": "background", **{str(label.value): label.name for label in card.labels}}
    writeDataset(folder, labels, card.modality, store.cases.values())
    return folder
