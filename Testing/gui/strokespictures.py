"""Pictures for the tutorial on strokes: painted, the whole, an unsure place, applied, and what was learned."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from Testing.gui import qthost
from Testing.gui.strokeswalk import VIEW, Walk
from Testing.host import SliceView, emptySession

from LLMBoostLib.strokes.session import sharedClient

MODELS = ("hippocampus",)


def takePictures(folder: Path, _data: Path) -> None:
    """Write strokes-*.jpg into a folder; the images are drawn."""
    with tempfile.TemporaryDirectory() as own, emptySession() as session, ExitStack() as windows:
        os.environ["LLMBOOST_MODELS"] = str(Path(own, "models"))  # the shipped models alone
        os.environ["LLMBOOST_TRAINING"] = str(Path(own, "training"))
        views = [windows.enter_context(SliceView(session, name, VIEW)) for name in ("Green", "Red")]
        host = qthost.install()
        host.start(session, Path(own))
        walk = Walk(host, views, folder)
        walk.go()
        walk.learn()
        sharedClient().shutDown()
        host.stop()
        host.check()
