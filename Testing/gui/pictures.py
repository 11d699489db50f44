"""Pictures for the README: the panel on its way from an empty scene to a result and to an error, and the views.

The real worker and model compute, on the MNI152 T1 template that the nilearn wheel ships.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import slicer
from Testing.gui import qthost
from Testing.gui.panelcase import MODULE, grabPanel
from Testing.gui.qthost import Host, choose, click
from Testing.host import SliceView, ThreeDView, emptySession, mosaic

from LLMBoostLib.launcher import COMMAND_SETTING

TEMPLATE = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
VIEW = 230, 230  # pixels
FIELD = 150.0  # mm across a slice view


def takePictures(folder: Path) -> None:
    """Write panel-*.png into a folder."""
    with tempfile.TemporaryDirectory() as own, emptySession() as session, ExitStack() as windows:
        os.environ["LLMBOOST_MODELS"] = own  # the shipped models alone
        views = [windows.enter_context(SliceView(session, name, VIEW)) for name in ("Red", "Yellow", "Green")]
        views.append(windows.enter_context(ThreeDView(session, VIEW)))
        host = qthost.install()
        host.start(session, Path(own))
        _Walk(host, views, folder).go()
        host.stop()
        host.check()


class _Walk:
    def __init__(self, host: Host, views: list[Any], folder: Path) -> None:
        self._host, self._views, self._folder = host, views, folder
        self._setCommand(shlex.join([sys.executable, "-u", "-m", "llmboost.worker"]))
        self._widget = host.openModule(MODULE)
        self._ui = self._widget.ui

    def go(self) -> None:
        ui = self._ui
        self._picture("empty")
        self._loadHead()
        self._notInstalled()
        click(ui.uncertaintyBox)
        self._run()
        click(ui.overlayBox)
        click(ui.show3DBox)
        self._picture("done")
        self._pictureOfViews()
        click(ui.revertButton)
        self._error()

    def _loadHead(self) -> None:
        path = next(path for folder in map(Path, sys.path) if (path := folder / TEMPLATE).is_file())
        node = slicer.util.loadVolume(str(path), {"name": "MNI152_T1"})
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        choose(self._ui.inputSelector, node.GetName())

    def _notInstalled(self) -> None:
        """As in a Slicer without the packages: what is told before, and asked at, a click on Apply."""
        from LLMBoostLib import install, readiness

        needed = [install.TORCH, *install.requirements()]
        with (
            patch.object(readiness, "missing", lambda purpose: needed),
            patch.object(install, "missing", lambda purpose: needed),
            patch.object(install, "_checkPossible", lambda needed: None),
        ):
            self._host.selectModule("")
            self._host.selectModule(MODULE)
            self._picture("not-installed")
            self._host.answer(False)
            click(self._ui.applyButton)
            self._finish()
        self._save(self._host.dialogs.take("question").picture, "question")
        self._host.dialogs.take("error")

    def _run(self) -> None:
        """Click Apply, take a picture on the way, and wait for the end."""
        progress, taken = self._widget.panel.progress, []
        tell = progress.tell

        def tellAndShow(news: Any) -> None:
            tell(news)
            if (news.fraction or 0) > 0.3 and not taken:
                taken.append(self._picture("running"))

        with patch.object(progress, "tell", tellAndShow):
            click(self._ui.applyButton)
            self._finish()

    def _error(self) -> None:
        self._widget.logic.client.shutDown()
        self._setCommand("/opt/venv/bin/python -m llmboost.worker")
        click(self._ui.applyButton)
        self._finish()
        self._picture("error")
        self._save(self._host.dialogs.take("error").picture, "message")

    def _pictureOfViews(self) -> None:
        """Slices through the first segment, and the surfaces of all."""
        node = self._widget.logic.result.segmentationNode
        right, front, up = node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0))
        for view, aside in zip(self._views[:-1], (0, right, 0), strict=True):  # axial and coronal: both sides
            view.show((aside, front, up), FIELD)
        mosaic([view.render() for view in self._views], 2, self._folder / "panel-views.png")

    def _finish(self) -> None:
        panel = self._widget.panel
        self._host.runUntil(lambda: not panel._running and not panel._rest.active)

    def _picture(self, name: str) -> Path:
        return grabPanel(self._widget, self._folder / f"panel-{name}.png")

    def _save(self, picture: Any, name: str) -> None:
        picture.save(str(self._folder / f"panel-{name}.png"))

    @staticmethod
    def _setCommand(text: str) -> None:
        import qt  # there only once the host has started

        qt.QSettings().setValue(COMMAND_SETTING, text)
