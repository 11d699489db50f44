"""Which of the unlabeled cases to label next: the question to the worker, and its data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.messages.cases import RankedCase, Ranking, RankRequest
from llmboost.messages.words import Device
from llmboost.messages.worker import Progress

from ..worker.client import Client
from .cases import EXTENSION, IMAGES, LABELS, link, writeDataset
from .casestore import CaseStore
from .runfolders import newRun, removeRun
from .trainingrun import whenLocal

Order = tuple[RankedCase, ...]


def start(
    client: Client,
    store: CaseStore,
    model: str,
    device: Device,
    onProgress: Callable[[Progress], None] | None,
    onDone: Callable[[Order], None],
    onError: Callable[[Exception], None],
) -> None:
    """Rank in the background; one of ``onDone`` and ``onError`` will be called, once.

    Raises:
        LLMBoostError: packages are missing and were not installed, or the worker's command cannot be read.
    """
    run = newRun(store.folder)

    def failed(error: Exception) -> None:
        removeRun(run)
        onError(error)

    def done(answer: Ranking) -> None:
        removeRun(run)
        onDone(answer.order)

    def ready() -> None:
        dataset = _write(store, read_card(library.find(model)), run)
        client.start(RankRequest(model=model, device=device, dataset=str(dataset)), onProgress, done, failed)

    whenLocal(client, ready, failed)


def _write(store: CaseStore, card: Card, folder: Path) -> Path:
    """All images beside each other: those without labels are ranked, the others tell what is known already."""
    for case in store.cases.values():
        link(store.image(case), folder / IMAGES / (case.id + EXTENSION))
        if case.labeled:
            link(store.labels(case), folder / LABELS / (case.id + EXTENSION))
    labels = {"0": "background", **{str(label.value): label.name for label in card.labels}}
    writeDataset(folder, labels, card.modality, store.cases.values())
    return folder
