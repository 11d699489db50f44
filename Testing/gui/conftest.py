"""What the tests of panels share: the application's stand-in with its GUI, and the segmentation module opened in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from Testing.gui import qthost
from Testing.gui.panelcase import Case
from Testing.gui.qthost import Host
from Testing.host import Session, emptySession, start

from llmboost import library
from llmboost.card import CLASSIFICATION, METADATA_KEY, Card, Classification, Label, read_card

start()  # tests import what needs the application


@pytest.fixture
def session() -> Iterator[Session]:
    """An empty scene; a test fails if VTK or MRML reported an error."""
    with emptySession() as session:
        yield session


@pytest.fixture
def host(session: Session, tmp_path: Path) -> Iterator[Host]:
    """The application with its GUI; a test fails on errors in slots, and on dialogs that it did not expect."""
    host = qthost.install()
    host.start(session, tmp_path / "settings")
    yield host
    host.stop()
    host.check()


@pytest.fixture
def panel(host: Host) -> Any:
    """The panel of LLMBoost Segment: its LLMBoostSegmentWidget."""
    return host.openModule("LLMBoostSegment")


@pytest.fixture
def case(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The panel on an empty scene, with the shipped models and a folder for others."""
    models = tmp_path / "models"
    monkeypatch.setenv(library.FOLDER_VARIABLE, str(models))
    return Case(host, tmp_path, models)


@pytest.fixture
def makeModel(case: Case) -> Callable[..., Card]:
    """``makeModel(name, **changes)`` puts a copy of the shipped model, with another card, into the user's folder."""

    def make(name: str, preprocessing: dict[str, Any] | None = None, **changes: Any) -> Card:
        source = library.find("hippocampus")
        card = read_card(source)
        steps = replace(card.preprocessing, **(preprocessing or {}))
        card = replace(card, name=name, preprocessing=steps, **changes)
        with safe_open(source, "numpy") as file:
            first = next(iter(file.keys()))
            tensors = {first: file.get_tensor(first)}
        case.models.mkdir(exist_ok=True)
        save_file(tensors, case.models / f"{name}.safetensors", {METADATA_KEY: card.to_json()})
        case.panel.chooser.refresh()
        return card

    return make


@pytest.fixture
def makeClassifier(case: Case, makeModel: Callable[..., Card]) -> Callable[..., Card]:
    """``makeClassifier(name, classes, **changes)``: a model that the light worker answers for; it is chosen."""

    def make(name: str = "lungs", classes: tuple[str, ...] = ("normal", "pneumonia"), **changes: Any) -> Card:
        changes = {"preprocessing": {"patch_size": (28, 28, 1)}, "title": "Chest", "modality": "DX", **changes}
        card = makeModel(
            name,
            task=CLASSIFICATION,
            cascade=None,
            labels=tuple(Label(value, each, (0, 0, 0)) for value, each in enumerate(classes)),
            classification=Classification(positive=classes[1], thresholds=(0.4,)),
            figures={"test_auc": 0.96},
            **changes,
        )
        case.parameters.model = name
        return card

    return make
