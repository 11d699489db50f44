"""Slicer's module LLMBoost Segment: what it is, its logic for scripts and its own test. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

from llmboost import library
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.wire import pack_volumes
from LLMBoostLib import batch
from LLMBoostLib.client import Answer, Client, Progress
from LLMBoostLib.maps import writeMap
from LLMBoostLib.segmentation import Undo, writeSegmentation
from LLMBoostLib.tables import writeTable
from LLMBoostLib.volumes import frameWarnings, roiFromNode, volumesFromNode

HOMEPAGE = "https://github.com/llmboost/SlicerLLMBoost"


class LLMBoostSegment(ScriptedLoadableModule):
    def __init__(self, parent: Any):
        super().__init__(parent)
        parent.title = _("LLMBoost Segment")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The LLMBoost developers"]
        parent.helpText = _(
            "Segments an image with a network that carries a frozen block of a language model inside. All is computed"
            " on this machine, in a process of its own. For research only, not for clinical use."
            ' See <a href="{url}">{url}</a>.'
        ).format(url=HOMEPAGE)
        parent.acknowledgementText = _(
            "The networks are trained on public data sets, named in each model's card. Models and programs are free"
            " software; their licenses are listed at {url}."
        ).format(url=HOMEPAGE)


@dataclass(frozen=True)
class Result:
    """What a run left in the scene.

    Attributes:
        segmentationNode: the segments.
        tableNode: their sizes in mL and voxels.
        mapNodes: by kind ("entropy", "probability_<label value>"), as far as they were asked for.
        undo: the way back to what the segmentation was before.
        warnings: what a user should know before believing the result.
        seconds: time that the engine took.
    """

    segmentationNode: Any
    tableNode: Any
    undo: Undo
    mapNodes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


class LLMBoostSegmentLogic(ScriptedLoadableModuleLogic):
    """Segmenting for scripts, with no GUI.

    Args:
        client: talks to the worker; by default one of its own.
    """

    def __init__(self, client: Client | None = None):
        super().__init__()
        self.client = client or Client()
        self.result: Result | None = None  # of the last run that was completed

    def process(
        self,
        volumeNode: Any,
        model: str = "hippocampus",
        roiNode: Any = None,
        segmentationNode: Any = None,
        device: str = "auto",
        *,
        mirror: bool = False,
        uncertainty: bool = False,
        probabilities: bool = False,
        closedSurface: bool = False,
        waitForCompletion: bool = True,
        onProgress: Callable[[Progress], None] | None = None,
        onDone: Callable[[Result], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> Any:
        """Segment a volume; nodes are made or changed only when the whole answer is there.

        Args:
            volumeNode: the input, or a list of inputs where a model takes several channels.
            model: a name of the library, or a model file.
            roiNode: a ROI that limits the computation.
            segmentationNode: where the segments go, see ``LLMBoostLib.segmentation.writeSegmentation``; by default a
                new one.
            device: auto, cpu or cuda.
            mirror: average over mirrored images: twice the time.
            uncertainty, probabilities: also make volumes of the entropy, or of each label's probability.
            closedSurface: also make the surfaces that 3D views show.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the segmentation node; more about the run is in ``result``.

        Raises:
            LLMBoostError: an input cannot be used, or was removed from the scene meanwhile.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        inputs = list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
        color = _takesColor(model)
        volumes = [volume for node in inputs for volume in volumesFromNode(node, color)]
        geometry, arrays = pack_volumes(volumes)
        fields = {
            "model": model,
            "device": device,
            "roi": roiFromNode(roiNode, inputs[0]) if roiNode else None,
            "mirror": mirror,
            "uncertainty": uncertainty,
            "probabilities": probabilities,
            "geometry": geometry,
        }

        def finish(answer: Answer) -> Result:
            self.result = _writeResult(answer, inputs, segmentationNode, closedSurface)
            return self.result

        if waitForCompletion:
            return finish(self.client.call("segment", fields, arrays, onProgress)).segmentationNode

        def done(answer: Answer) -> None:
            try:
                result = finish(answer)
            except Exception as error:
                if onError is None:
                    raise
                onError(error)
            else:
                if onDone:
                    onDone(result)

        self.client.start("segment", fields, arrays, onProgress, done, onError)
        return None

    def revert(self) -> None:
        """Take the last run back: its segments, and the table that lists them. Maps stay, they are the volume's.

        Raises:
            LLMBoostError: there is no run to take back, or its segmentation was removed from the scene.
        """
        if self.result is None:
            raise LLMBoostError("no result to revert")
        result, self.result = self.result, None
        result.undo.revert()
        slicer.mrmlScene.RemoveNode(result.tableNode)

    def processFolder(
        self,
        inputFolder: str | Path,
        outputFolder: str | Path,
        model: str = "hippocampus",
        device: str = "auto",
        *,
        resume: bool = False,
        mirror: bool = False,
        uncertainty: bool = False,
        onProgress: Callable[[str], None] = print,
    ) -> list[dict[str, Any]]:
        """Segment all images of a folder, without loading them into the scene: one .seg.nrrd a case and a summary.

        It runs ``llmboost segment`` with the worker's Python on this machine. One bad case does not stop the others.

        Args:
            resume: leave the cases alone that an earlier run has done.
            onProgress: is given a line a case.

        Returns:
            the summary's row of each case: id, status ("ok" or "failed"), output, error, volumes_ml, warnings.

        Raises:
            LLMBoostError: nothing could be done at all; the message tells why.
        """
        options = {"--resume": resume, "--mirror": mirror, "--uncertainty": uncertainty}
        arguments = [str(inputFolder), "--model", model, "--output", str(outputFolder), "--device", device]
        arguments += [option for option, wanted in options.items() if wanted]
        return batch.segmentFolder(arguments, Path(outputFolder), onProgress)


def _takesColor(model: str) -> bool:
    with suppress(LLMBoostError):  # it may lie on the worker's machine alone
        return read_card(library.find(model)).preprocessing.color
    return False


def _writeResult(answer: Answer, inputs: Sequence[Any], segmentationNode: Any, closedSurface: bool) -> Result:
    volumeNode, fields, labels = inputs[0], answer.fields, answer.fields["labels"]
    warnings = [warning for node in inputs for warning in frameWarnings(node)]
    provenance = fields["provenance"]
    undo = writeSegmentation(
        answer.arrays["labelmap"],
        labels,
        volumeNode,
        segmentationNode,
        name=f"{volumeNode.GetName()} {provenance['LLMBoost.Model']}",
        provenance=provenance,
        closedSurface=closedSurface,
    )
    maps = {"entropy": (_("Entropy"), "")}
    maps |= {f"probability_{label['value']}": (_("Probability"), label["name"]) for label in labels}
    mapNodes = {
        kind: writeMap(answer.arrays[kind], volumeNode, kind, title, subject, provenance)
        for kind, (title, subject) in maps.items()
        if kind in answer.arrays
    }
    table = writeTable(answer.arrays["labelmap"], labels, fields["volumes_ml"], undo.segmentationNode)
    return Result(
        undo.segmentationNode, table, undo, mapNodes, (*warnings, *fields["warnings"]), float(fields["seconds"])
    )


class LLMBoostSegmentTest(ScriptedLoadableModuleTest):
    """Runs on Slicer's build machines, too: no torch, no main window, no network."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_segmentsOfAnAnswer()

    def test_segmentsOfAnAnswer(self) -> None:
        """A made-up answer becomes segments with names, on the volume's grid, and is taken back."""
        volumeNode = slicer.util.addVolumeFromArray(np.zeros((6, 7, 8), np.int16), name="phantom")
        labelmap = np.zeros((6, 7, 8), np.uint8)
        labelmap[2:4, 2:5, 2:6] = 1
        label = {"value": 1, "name": "block", "color": [230, 159, 0], "terminology": ""}
        undo = writeSegmentation(labelmap, [label], volumeNode, name="blocks")
        segmentation = undo.segmentationNode.GetSegmentation()
        segmentID = segmentation.GetSegmentIdBySegmentName("block")
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(undo.segmentationNode, segmentID, volumeNode)
        assert np.array_equal(voxels, labelmap)
        undo.revert()
        assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
