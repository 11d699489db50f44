"""What the tests of panels share: the application's stand-in with its GUI, and the segmentation module opened in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from Testing.gui import qthost
from Testing.gui.panelcase import Case
from Testing.gui.qthost import Host
from Testing.host import Session, emptySession

from llmboost import library


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
