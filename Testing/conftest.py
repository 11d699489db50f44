"""What all tests share: the --slow option, which examples are tried, and the folder with optional real data."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
DATA_VARIABLE = "LLMBOOST_DATA"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow (over a minute each)")


def pytest_configure(config: pytest.Config) -> None:
    """The normal run tries the same examples every time, so that it fails for a change alone; the slow one searches."""
    hypothesis.settings.register_profile("normal", derandomize=True)
    hypothesis.settings.load_profile("default" if config.getoption("--slow") else "normal")


def pytest_report_header(config: pytest.Config) -> list[str]:
    slow = "included" if config.getoption("--slow") else "deselected, include them with --slow"
    return [
        f"slow tests: {slow}",
        f"real data: {_find_data() or f'none, set {DATA_VARIABLE}'}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests unless asked for; the header says so."""
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that ask for it are skipped where there is none."""
    folder = _find_data()
    if folder is None:
        pytest.skip(f"no real data: set {DATA_VARIABLE} to the folder that holds it")
    return folder


def _find_data() -> Path | None:
    folder = Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA)
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def reorient() -> Callable[..., Any]:
    """``reorient(image, axes, senses)`` of scripts/reorient_dataset.py: the image with its axes stored otherwise."""
    return runpy.run_path(str(SCRIPTS / "reorient_dataset.py"))["reorient"]
