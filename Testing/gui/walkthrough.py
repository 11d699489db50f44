"""From an empty scene to the second case, segmented by a model that has learned from the first: click by click, with
the real worker, a picture of each step, and what it took.

The images are hippocampi of the Medical Segmentation Decathlon as another scanner would show them (see
llmboost/bench/shift.py), corrected as its experts drew them; where that data is not there, drawn ones.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import PIL.Image
import slicer
from Testing.gui import qthost
from Testing.gui.panelcase import MODULE, grabPanel, heightOf
from Testing.gui.qthost import Host, click
from Testing.gui.trainwalk import copySegment, dice, inSteps, voxelsOf
from Testing.host import SliceView, emptySession

from llmboost.bench.shift import shifted
from llmboost.io.image import read_image, write_image
from llmboost.messages.images import DrawnLabel
from LLMBoostLib.scene import samples
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.worker.launcher import COMMAND_SETTING

MODELS = ("hippocampus",)
DATA = "Task04_Hippocampus"
CASES = "hippocampus_039", "hippocampus_044"  # the first two patients of the test list
VIEW = 230, 268  # pixels
FIELD = 42.0  # mm across a slice view
STEPS = 50  # of the training: two minutes are more on machines at rest, and few steps on a busy one
PATIENCE = 1800.0  # seconds for a computation


@dataclass
class Step:
    """What a step took.

    Attributes:
        clicks: of the mouse, without strokes in the editor.
        seconds: of computing, until the step was done.
        height: of the panel, in pixels.
        dice: mean of both labels, against the experts' segments; None where nothing is segmented.
    """

    name: str
    clicks: int
    seconds: float
    height: int
    dice: float | None


class Walk:
    """The panel of LLMBoost Segment on an empty scene.

    Args:
        images: two files, and the labels that experts drew on each, uint8 [k, j, i].
        steps: of the training.
        views: of the slices; without them, no pictures are taken.
        folder: gets the pictures walk-<number>.png.

    Attributes:
        steps: what each of them took.
        other: Dice of the second case by the model as it was before.
    """

    def __init__(
        self,
        host: Host,
        images: list[tuple[Path, np.ndarray]],
        steps: int,
        views: Sequence[SliceView] = (),
        folder: Path = Path(),
    ) -> None:
        import qt  # there only once the host has started

        qt.QSettings().setValue(COMMAND_SETTING, shlex.join([sys.executable, "-u", "-m", "llmboost.worker"]))
        self.host, self.images, self.views, self.folder = host, images, views, folder
        logic = host.openModule("LLMBoostTrain").logic
        logic.train = partial(inSteps, logic.train, steps)
        self.widget = host.openModule(MODULE)
        self.ui, self.panel = self.widget.ui, self.widget.panel
        self.steps: list[Step] = []
        self._clicks = 0

    def go(self) -> None:
        """All steps; then the second case once more, by the model as it was."""
        with self._step("Open LLMBoost Segment"):
            pass
        with self._step("Load the first image"), self._loads(0):
            self._click(self.ui.loadButton)
        with self._step("Segment it"):
            self._click(self.ui.applyButton)
            self._wait(lambda: not self.panel.run.active and not self.panel.run.resting)
        with self._step("Correct it"):
            self._click(self.ui.editButton)
            self._correct()
        with self._step("Learn from it"):
            self._click(self.ui.backButton)
            self._click(self.ui.learnButton)
            self._wait(lambda: not self.panel.loop.learning.active)
        with self._step("Next case"), self._loads(1):
            self._click(self.ui.nextButton)
            self._wait(lambda: not self.panel.run.active and not self.panel.run.resting)
        learned = self.widget.logic.asked.model
        assert learned != MODELS[0], self.ui.learnLabel.text
        node = self.widget.logic.process(self.image, model=MODELS[0])
        self.other = dice(voxelsOf(node, self.image), self.images[1][1])

    @property
    def image(self) -> Any:
        return self.panel.parameterNode.inputVolume

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._clicks, started = 0, time.monotonic()
        yield
        seconds = time.monotonic() - started
        self.host.processEvents()
        self.steps.append(Step(name, self._clicks, seconds, heightOf(self.widget), self._dice()))
        self._picture()

    @contextmanager
    def _loads(self, number: int) -> Iterator[None]:
        """Slicer's dialog, in which the user chooses a file."""
        path = str(self.images[number][0])
        with patch.object(slicer.util, "openAddDataDialog", lambda: slicer.util.loadVolume(path)):
            yield

    def _click(self, widget: Any) -> None:
        click(widget)
        self._clicks += 1

    def _wait(self, condition: Callable[[], bool]) -> None:
        self.host.runUntil(condition, PATIENCE)

    @property
    def _result(self) -> Any:
        result = self.widget.logic.result
        return result.segmentationNode if result else None

    def _number(self) -> int:
        """Which of the two images is open."""
        return int(self.image.GetName() == self.images[1][0].name.split(".")[0])

    def _dice(self) -> float | None:
        if self._result is None:
            return None
        return dice(voxelsOf(self._result, self.image), self.images[self._number()][1])

    def _correct(self) -> None:
        """As the experts drew it, through the function by which the editor's effects draw."""
        labels = [DrawnLabel(n, label.name, label.color) for n, label in enumerate(samples.LABELS, start=1)]
        drawn = writeSegmentation(self.images[0][1], labels, self.image).segmentationNode
        for n in range(len(labels)):
            copySegment(drawn, self._result, n, self.image)
        slicer.mrmlScene.RemoveNode(drawn)

    def _picture(self) -> None:
        """The panel beside the slice views."""
        if not self.views:
            return
        if self.image is not None:
            right, front, up = np.mean(_bounds(self.image), axis=1)
            for view in self.views:
                view.show((right, front, up), FIELD)
        path = self.folder / f"walk-{len(self.steps)}.png"
        panel = PIL.Image.open(grabPanel(self.widget, path)).convert("RGB")
        pictures = [PIL.Image.fromarray(view.render()) for view in self.views]
        height = max(panel.height, len(pictures) * VIEW[1])
        whole = PIL.Image.new("RGB", (panel.width + VIEW[0], height), panel.getpixel((1, panel.height - 1)))
        whole.paste(panel, (0, 0))
        for number, picture in enumerate(pictures):
            whole.paste(picture, (panel.width, number * VIEW[1]))
        whole.save(path)


def takePictures(folder: Path, data: Path) -> None:
    """Write walk-*.png and walkthrough.md, the table of what each step took, into a folder.

    Args:
        data: the folder of real data, which need not be there.
    """
    with tempfile.TemporaryDirectory() as own, emptySession() as session, ExitStack() as windows:
        os.environ["LLMBOOST_MODELS"] = str(Path(own, "models"))  # the shipped models alone
        os.environ["LLMBOOST_TRAINING"] = str(Path(own, "training"))
        views = [windows.enter_context(SliceView(session, name, VIEW)) for name in ("Green", "Red")]
        host = qthost.install()
        host.start(session, Path(own))
        walk = Walk(host, makeImages(Path(own), data), STEPS, views, folder)
        walk.go()
        (folder / "walkthrough.md").write_text(table(walk), encoding="utf-8")
        host.stop()
        host.check()


def makeImages(folder: Path, data: Path) -> list[tuple[Path, np.ndarray]]:
    """The two images, in a folder of their own, with what experts drew."""
    found = []
    images = folder / "images"
    images.mkdir()
    for number, id in enumerate(CASES, start=1):
        path, source = images / f"case_{number}.nii.gz", data / DATA / "imagesTr" / f"{id}.nii.gz"
        if source.is_file():
            write_image(shifted(read_image(source), id), path)
            labels = read_image(data / DATA / "labelsTr" / source.name).array.transpose(2, 1, 0).astype(np.uint8)
        else:
            path = images / f"case_{number}.nrrd"
            shift = tuple(np.random.default_rng(number).integers(-2, 3, 3))
            labels = samples.drawLabels(shift)
            node = slicer.util.addVolumeFromArray(samples.drawPhantom(shift, number, inverted=True))
            slicer.util.saveNode(node, str(path), {})
            slicer.mrmlScene.RemoveNode(node)
        found.append((path, labels))
    return found


def table(walk: Walk) -> str:
    """Markdown: a row a step."""
    lines = ["| step | clicks | seconds | height of the panel | Dice |", "|---|---|---|---|---|"]
    for step in walk.steps:
        told = "" if step.dice is None else f"{step.dice:.2f}"
        lines.append(f"| {step.name} | {step.clicks} | {step.seconds:.0f} | {step.height} | {told} |")
    lines += ["", f"The second case by the model as it was before: Dice {walk.other:.2f}."]
    return "\n".join(lines) + "\n"


def _bounds(volumeNode: Any) -> np.ndarray:
    """[3, 2] mm."""
    bounds = np.zeros(6)
    volumeNode.GetRASBounds(bounds)
    return bounds.reshape(3, 2)
