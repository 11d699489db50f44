"""What the tests of LLMBoost Train's panel share: the panel in place of the other module's, without and with cases."""

from __future__ import annotations

from pathlib import Path

import pytest
from Testing.gui.qthost import Host, choose
from Testing.gui.traincase import TrainCase


@pytest.fixture
def case(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainCase:
    """The panel on an empty scene, without cases."""
    return TrainCase(host, tmp_path, monkeypatch)


@pytest.fixture
def ready(case: TrainCase) -> TrainCase:
    """Two cases to train with, and one to check with."""
    for seed in range(3):
        case.add(f"head {seed}", seed)
    choose(case.ui.caseTable.cellWidget(2, 1), "val")
    return case
