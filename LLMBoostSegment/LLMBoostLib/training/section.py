"""What a section needs of the panel around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from llmboost.card import Card

from ..panels.progressview import ProgressView
from ..panels.run import Run
from ..panels.runner import Runner
from .cases import Snapshot
from .casestore import CaseStore


class Panel(Protocol):
    """The panel of LLMBoost Train.

    Attributes:
        parameterNode: None while the module is left.
        store: None where the folder of cases cannot be read.
        card: of the base model that is chosen, if one is.
        cropper: the base model for which large images are cropped; empty: for none.
    """

    parameterNode: Any
    run: Run
    runner: Runner
    progress: ProgressView

    @property
    def store(self) -> CaseStore | None: ...
    @property
    def card(self) -> Card | None: ...
    @property
    def cropper(self) -> str: ...

    def update(self) -> None:
        """Show what follows from the cases and the parameters."""

    def showButtons(self) -> None:
        """Only what can be done can be clicked."""

    def tell(self, text: str) -> None:
        """Put a sentence into the status line, unless it tells of a run."""

    def edit(self, case: Snapshot) -> None:
        """Open the editor's page on a case."""

    def compute(self, text: str, start: Callable[[], None]) -> None:
        """Begin what only a worker of this machine may do; ``text`` tells what goes on."""
