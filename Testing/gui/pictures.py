"""Pictures for the documents: the panel on its way from an empty scene to a result and to an error, and the views.

The real worker and models compute, on the MNI152 T1 template that the nilearn wheel ships, and on an image of the test
part of PneumoniaMNIST, where the folder of real data (LLMBOOST_DATA) holds it.
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

import numpy as np
import slicer
from Testing.gui import qthost
from Testing.gui.importpictures import pictureImport
from Testing.gui.panelcase import MODULE, grabPanel
from Testing.gui.qthost import Host, choose, click
from Testing.host import SliceView, ThreeDView, emptySession, mosaic

from LLMBoostLib.worker.launcher import COMMAND_SETTING

MODELS = "brain", "brain-1mm", "hippocampus", "pneumonia"
WORKER = shlex.join([sys.executable, "-u", "-m", "llmboost.worker"])
TEMPLATE = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
CHESTS = "medmnist/pneumoniamnist.npz"
VIEW = 230, 230  # pixels
PATIENCE = 3600.0  # seconds for a run
FIELD = 150.0  # mm across a slice view


def takePictures(folder: Path, data: Path) -> None:
    """Write panel-*.png into a folder; ``data``: the folder of real data, which need not be there."""
    with tempfile.TemporaryDirectory() as own, emptySession() as session, ExitStack() as windows:
        os.environ["LLMBOOST_MODELS"] = own  # the shipped models alone
        views = [windows.enter_context(SliceView(session, name, VIEW)) for name in ("Red", "Yellow", "Green")]
        views.append(windows.enter_context(ThreeDView(session, VIEW)))
        host = qthost.install()
        host.start(session, Path(own))
        walk = _Walk(host, views, folder)
        walk.go()
        if (data / CHESTS).is_file():
            walk.classify(data / CHESTS)
        else:
            print(f"no pictures of a classification: {data / CHESTS} is not there")
        walk.fail()
        walk.importModel(Path(own))
        host.stop()
        host.check()


class _Walk:
    def __init__(self, host: Host, views: list[Any], folder: Path) -> None:
        self._host, self._views, self._folder = host, views, folder
        self._setCommand(WORKER)
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
        self._explain()
        click(ui.revertButton)

    def classify(self, path: Path) -> None:
        """The first image of the test part that shows pneumonia, and where the network looked for that."""
        ui = self._ui
        with np.load(path) as file:
            image = file["test_images"][int(np.argmax(file["test_labels"][:, 0]))]
        node = slicer.util.addVolumeFromArray(image[np.newaxis], np.diag([-1.0, -1.0, 1.0, 1.0]), "chest")
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        self._widget.panel.parameterNode.model = "pneumonia"
        choose(ui.inputSelector, node.GetName())
        click(ui.applyButton)
        self._finish()
        red = self._views[0]
        red.show()
        plain = red.render()
        ui.moreButton.collapsed = False
        choose(ui.layerBox, "Before the booster")  # after it, nothing speaks for the class in this image
        click(ui.explainButton)
        self._finish()
        self._picture("classified")
        mosaic([plain, red.render()], 2, self._folder / "panel-classified-views.png")
        click(ui.revertButton)

    def fail(self) -> None:
        """A worker that cannot be started."""
        self._widget.logic.client.shutDown()
        self._setCommand("/opt/venv/bin/python -m llmboost.worker")
        click(self._ui.applyButton)
        self._finish()
        self._picture("error")
        self._save(self._host.dialogs.take("error").picture, "message")

    def importModel(self, work: Path) -> None:
        """A model of nnU-Net's, see :mod:`.importpictures`."""
        self._setCommand(WORKER)
        choose(self._ui.inputSelector, "MNI152_T1")
        pictureImport(self._host, self._widget, work, self._folder)

    def _loadHead(self) -> None:
        path = next(path for folder in map(Path, sys.path) if (path := folder / TEMPLATE).is_file())
        node = slicer.util.loadVolume(str(path), {"name": "MNI152_T1"})
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        choose(self._ui.inputSelector, node.GetName())

    def _notInstalled(self) -> None:
        """As in a Slicer without the packages: what is told before, and asked at, a click on Apply."""
        from LLMBoostLib.install import packages
        from LLMBoostLib.worker import consent

        needed = [packages.TORCH, *packages.requirements()]
        with (
            patch.object(consent, "missing", lambda purpose: needed),
            patch.object(packages, "missing", lambda purpose: needed),
            patch.object(packages, "_checkPossible", lambda needed: None),
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

    def _explain(self) -> None:
        """Where the network looked for a segment that is drawn in outline then."""
        self._widget.logic.result.segmentationNode.GetDisplayNode().SetVisibility2DFill(False)
        click(self._ui.explainButton)
        self._finish()
        self._picture("explained")
        self._pictureOfViews("explained-views", aside=True)

    def _pictureOfViews(self, name: str = "views", aside: bool = False) -> None:
        """Slices through the first segment, and the surfaces of all; by default, axial and coronal ones show both
        sides."""
        node = self._widget.logic.result.segmentationNode
        right, front, up = node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0))
        for view, x in zip(self._views[:-1], (right if aside else 0, right, right if aside else 0), strict=True):
            view.show((x, front, up), FIELD)
        mosaic([view.render() for view in self._views], 2, self._folder / f"panel-{name}.png")

    def _finish(self) -> None:
        panel = self._widget.panel
        self._host.runUntil(lambda: not panel.run.active and not panel.run.resting, PATIENCE)

    def _picture(self, name: str) -> Path:
        return grabPanel(self._widget, self._folder / f"panel-{name}.png")

    def _save(self, picture: Any, name: str) -> None:
        picture.save(str(self._folder / f"panel-{name}.png"))

    @staticmethod
    def _setCommand(text: str) -> None:
        import qt  # there only once the host has started

        qt.QSettings().setValue(COMMAND_SETTING, text)
