"""The logic of LLMBoost Segment: what its panel and scripts call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from llmboost.card import CLASSIFICATION
from llmboost.errors import LLMBoostError
from llmboost.messages.images import (
    ClassifyAnswer,
    ClassifyRequest,
    ExplainAnswer,
    ExplainOptions,
    ExplainRequest,
    SegmentAnswer,
    SegmentRequest,
)
from llmboost.messages.words import Device, Layer, Method, chosen
from llmboost.messages.worker import Progress

from ..scene.classification import Classification, writeClassification
from ..scene.explanation import Explanation, writeExplanation
from ..scene.frames import Frames
from ..scene.result import Result, writeResult
from ..scene.studyvolumes import chooseVolumes
from ..worker import folderrun
from ..worker.calls import Listeners, run, separate
from ..worker.client import Client
from .handingout import ResultsHandedOut
from .options import ClassifyOptions, FolderOptions, MapOptions, SegmentOptions, StudyOptions
from .request import RunRequest, cardOf, takesColor
from .studyrun import StudiesResult, StudyRun

if TYPE_CHECKING:
    from ..strokes.run import StrokesOptions, StrokesResult

T = TypeVar("T")
R = TypeVar("R", bound=Result | Classification)
# the command line's words for the options of a folder
_COMMAND_LINE = {
    "resume": "--resume",
    "mirror": "--mirror",
    "fast": "--fast",
    "uncertainty": "--uncertainty",
    "explanation": "--explain",
}


class LLMBoostSegmentLogic(ResultsHandedOut, ScriptedLoadableModuleLogic):
    """Segmenting, classifying and explaining for scripts, with no GUI.

    Args:
        client: talks to the worker; by default one of its own.
    """

    def __init__(self, client: Client | None = None):
        super().__init__()
        self.client = client or Client()
        self.result: Result | Classification | None = None  # of the last run that was completed
        self.asked: RunRequest | None = None  # what that answers

    def process(
        self,
        volumeNode: Any,
        model: str = "hippocampus",
        roiNode: Any = None,
        segmentationNode: Any = None,
        device: str = "auto",
        **options: Unpack[SegmentOptions],
    ) -> Any:
        """Segment a volume; nodes are made or changed only when the whole answer is there.

        Args:
            volumeNode: the input, or a list of inputs where a model takes several channels. For a model that takes a
                mask, a ``LLMBoostLib.scene.segmentinput.SegmentInput``.
            model: a name of the library, or a model file.
            roiNode: a ROI that limits the computation.
            segmentationNode: where the segments go, see ``LLMBoostLib.scene.segmentation.writeSegmentation``; by
                default a new one.
            device: auto, cpu or cuda.
            mirror: average over mirrored images: twice the time or more.
            fast: with a larger step from patch to patch: sooner, less sure where patches meet.
            uncertainty, probabilities: also make volumes of the entropy, or of each label's probability.
            closedSurface: also make the surfaces that 3D views show.
            explain: also make a map of where the model looked, which is ``result.explanation``.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the segmentation node; more about the run is in ``result``.

        Raises:
            LLMBoostError: an input cannot be used, or was removed from the scene meanwhile.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        asked = RunRequest(_inputs(volumeNode), model, roiNode, device)
        own, listeners = separate(SegmentOptions, options)
        closedSurface = own.pop("closedSurface", False)
        request = replace(asked.message(SegmentRequest), **own)

        def finish(answer: SegmentAnswer) -> Result:
            result = writeResult(answer, asked.volumeNodes(), segmentationNode, closedSurface)
            return self._keep(asked, result, answer)

        made = run(self.client, self._starting(request, finish, listeners), listeners)
        return made and made.segmentationNode

    def classify(
        self,
        volumeNode: Any,
        model: str = "adrenal",
        roiNode: Any = None,
        device: str = "auto",
        **options: Unpack[ClassifyOptions],
    ) -> Classification | None:
        """Classify an image; the table is made or changed only when the whole answer is there.

        Args:
            volumeNode: the input, or a list of inputs where a model takes several channels. For a model that takes a
                mask, a ``LLMBoostLib.scene.segmentinput.SegmentInput``.
            model: a name of the library, or a model file.
            roiNode: a ROI that limits what the model sees.
            device: auto, cpu or cuda.
            slice: for a 2D model, the index of one slice from 0, along the image's axis of the largest spacing (see
                ``LLMBoostLib.panels.slicechoice.sliceAxis``); None: all of them.
            anyway: also answer for an image of another kind than the model knows.
            explain: also make a map of where the model looked, which is ``explanation`` of what is returned.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the classes with their calibrated probabilities, the decision, and the table nodes that tell them. For an
            image of another kind than the model knows, nothing of that, but ``refused`` is true and ``reasons`` tell
            why.

        Raises:
            LLMBoostError: an input cannot be used, or was removed from the scene meanwhile.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        own, listeners = separate(ClassifyOptions, options)
        slice, anyway = own.get("slice"), own.get("anyway", False)
        asked = RunRequest(_inputs(volumeNode), model, roiNode, device, slice, anyway)
        request = replace(asked.message(ClassifyRequest), slice_number=slice, anyway=anyway, explain=own.get("explain"))

        def finish(answer: ClassifyAnswer) -> Classification:
            return self._keep(asked, writeClassification(answer, asked.inputs), answer)

        return run(self.client, self._starting(request, finish, listeners), listeners)

    def explain(
        self,
        volumeNode: Any,
        model: str = "hippocampus",
        roiNode: Any = None,
        device: str = "auto",
        **options: Unpack[MapOptions],
    ) -> Any:
        """Make a map of where in an image a model looks when it classifies or segments it.

        Args:
            volumeNode, model, roiNode, device, slice, anyway: as for :meth:`classify` or :meth:`process`.
            target: the value of a class, or of a segment's label; None: the class that the model decides for, or the
                first label.
            method: "grad-cam" or "attention-rollout".
            layer: "before" or "after" the booster, the frozen block of the language model.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the volume node of the map, from 0 to 1 on the grid of the (first) input; one of an earlier call that asked
            for the same is updated.

        Raises:
            LLMBoostError: an input cannot be used, or was removed from the scene meanwhile.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        own, listeners = separate(MapOptions, options)
        slice, anyway = own.get("slice"), own.get("anyway", False)
        asked = RunRequest(_inputs(volumeNode), model, roiNode, device, slice, anyway)
        what = ExplainOptions(
            own.get("target"),
            chosen(Method, own.get("method", Method.GRAD_CAM), "method"),
            chosen(Layer, own.get("layer", Layer.AFTER), "layer"),
        )
        request = replace(asked.message(ExplainRequest), slice_number=slice, anyway=anyway, explain=what)

        def finish(answer: ExplainAnswer) -> Explanation:
            return writeExplanation(answer.explanation, answer, asked.volumeNodes()[0])

        made = run(self.client, self._starting(request, finish, listeners), listeners)
        return made and made.mapNode

    def strokes(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        model: str = "automatic",
        roiNode: Any = None,
        device: str = "auto",
        **options: Unpack[StrokesOptions],
    ) -> StrokesResult | None:
        """Segment by strokes: painted a little, get the whole. What is painted stays as it is.

        Args:
            volumeNode: the image.
            segmentationNode: its segments are the strokes; one named "background" says what belongs to none.
            model: that may know the segments: a name of the library; "automatic": one whose labels have their names or
                SNOMED codes; "walker": none.
            roiNode: a ROI to compute in; by default what lies around the strokes.
            device: auto, cpu or cuda.
            learn: let the model learn from the strokes, where that helps; False: the random walker answers.
            keep: the name of a model to make of what it has learned, for the next image.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            what was drawn, in a new segmentation, and who drew it.

        Raises:
            LLMBoostError: nothing is painted, an input cannot be used, or there is nothing to keep.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        # not before it is asked for: what keeps cases loads SimpleITK, and Slicer starts without
        from ..strokes.run import StrokesOptions, StrokesRun

        own, listeners = separate(StrokesOptions, options)
        asked = StrokesRun(volumeNode, segmentationNode, model, roiNode, chosen(Device, device, "device"), **own)
        start = partial(asked.start, self.client, onProgress=listeners.get("onProgress"))
        return run(self.client, start, listeners)

    def _keep(self, asked: RunRequest, result: R, answer: SegmentAnswer | ClassifyAnswer) -> R:
        """This was asked last, and answered; a map that came along is made, too."""
        if answer.explanation is not None:
            try:
                made = writeExplanation(answer.explanation, answer, asked.volumeNodes()[0])
            except BaseException:
                result.revert()
                raise
            result = replace(result, explanation=replace(made, warnings=answer.explanation.warnings))
        self.asked, self.result = asked, result
        return result

    def processFrames(
        self,
        volumeNode: Any,
        model: str = "hippocampus",
        roiNode: Any = None,
        device: str = "auto",
        *,
        mirror: bool = False,
        fast: bool = False,
        **options: Unpack[Listeners],
    ) -> Any:
        """Segment all time points of a sequence, one after the other; nodes are made when all are done.

        Args:
            volumeNode: the volume that a sequence browser shows the time points in. The result is a segmentation that
                the same browser plays, from a new sequence.

        For the rest see :meth:`process`.
        """
        frames, color, answers = Frames(volumeNode), takesColor(model), list[SegmentAnswer]()
        asked, count = RunRequest([volumeNode], model, roiNode, device), len(frames)
        _none, listeners = separate(Listeners, options)
        onProgress = listeners.get("onProgress")

        def tell(news: Progress) -> None:
            number = len(answers)
            fraction = (number + (news.fraction or 0)) / count
            text = _("time point {number} of {count}: {text}").format(number=number + 1, count=count, text=news.text)
            if onProgress:
                onProgress(Progress(fraction, text, news.memory))

        def start(onDone: Callable[[Result], None], onError: Callable[[Exception], None] | None) -> None:
            """The next time point, and after it those that follow."""
            volumes = frames.volumes(len(answers), color)
            request = replace(asked.message(SegmentRequest, volumes), mirror=mirror, fast=fast)

            def receive(answer: SegmentAnswer) -> None:
                answers.append(answer)
                if len(answers) < count:
                    start(onDone, onError)
                else:
                    onDone(self._keep(asked, frames.write(answers), answer))

            self.client.start(request, tell, receive, onError)

        made = run(self.client, start, listeners)
        return made and made.segmentationNode

    def processStudies(
        self,
        itemID: int,
        model: str = "hippocampus",
        device: str = "auto",
        series: str = "auto",
        **options: Unpack[StudyOptions],
    ) -> StudiesResult | None:
        """Segment or classify what suits the model of the volumes of each study below an item of the subject hierarchy.

        Args:
            itemID: of a study, a folder, a patient, or of the scene; see
                ``LLMBoostLib.scene.studyvolumes.chooseVolumes``.
            series: of each study "auto", the volume that suits best, "all" that suit, or those of a rule such as
                "modality=MR & description~T1 & thickness<2".
            mirror, fast: as for :meth:`process`; anyway: as for :meth:`classify`.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the results, what failed, and what was left of each study, and why. A volume that fails does not stop the
            others. :meth:`revert` takes all segmentations back.

        Raises:
            LLMBoostError: no volume suits, ``series`` is no rule, or the model is not on this computer.
            WorkerError: the worker is lost or was cancelled; results of before stay.
        """
        card = cardOf(model)
        if card is None:
            text = _("{model}: not on this computer, so nobody knows which volumes suit it; choose another model")
            raise LLMBoostError(text.format(model=model))
        own, listeners = separate(StudyOptions, options)
        task: Callable[..., Any] = self.classify if card.task == CLASSIFICATION else self.process
        ask = partial(task, model=model, device=device, **own)
        asked = StudyRun(chooseVolumes(itemID, card, series), ask, listeners.get("onProgress"))

        def start(onDone: Callable[[StudiesResult], None], onError: Callable[[Exception], None] | None) -> None:
            def finish(made: StudiesResult) -> None:
                if isinstance(self.result, Result) and self.result is made.results[-1]:
                    self.result = replace(self.result, undo=made)
                onDone(made)

            asked.start(finish, onError)

        return run(self.client, start, listeners)

    def revert(self) -> None:
        """Take the last run back: its segments and the table that lists them, or the tables of a classification.

        Maps stay, they are the volume's.

        Raises:
            LLMBoostError: there is no run to take back, or its segmentation was removed from the scene.
        """
        if self.result is None:
            raise LLMBoostError(_("no result to revert"))
        result = self.result
        self.forget()
        result.revert()

    def forget(self) -> None:
        """The last run cannot be taken back or explained any more, as when its nodes are gone."""
        self.result = self.asked = None

    def processFolder(
        self,
        inputFolder: str | Path,
        outputFolder: str | Path,
        model: str = "hippocampus",
        device: str = "auto",
        *,
        onProgress: Callable[[str], None] = print,
        shouldCancel: Callable[[], bool] = lambda: False,
        **options: Unpack[FolderOptions],
    ) -> list[dict[str, Any]]:
        """Segment or classify all images of a folder, without loading them into the scene.

        It runs ``llmboost segment`` or ``llmboost classify``, as the model does, with the worker's Python on this
        machine: one .seg.nrrd a case, or none, a summary (summary.json and summary.csv), and overview.html, a page of
        all cases. One bad case does not stop the others.

        Args:
            resume: leave the cases alone that an earlier run has done.
            mirror, uncertainty: as for :meth:`process`; classifiers have neither.
            explanation: also write a map a case of where the model looked, as volume and as picture.
            onProgress: is given a line a case, and at the end the address of the overview.
            shouldCancel: asked several times a second; True ends the run. Cases that are finished stay, and ``resume``
                does the others.

        Returns:
            the summary's row of each case: id, status ("ok" or "failed"), error, warnings; output and volumes_ml of
            segments, or decision and probabilities.

        Raises:
            LLMBoostError: nothing could be done at all, or the run was cancelled; the message tells why.
        """
        card = cardOf(model)
        command = "classify" if card and card.task == CLASSIFICATION else "segment"
        own, _none = separate(FolderOptions, options)
        if command == "classify" and (own.get("mirror") or own.get("uncertainty")):
            text = _("{model}: classifies images; mirror and uncertainty are for models that segment")
            raise LLMBoostError(text.format(model=model))
        arguments = [str(inputFolder), "--model", model, "--output", str(outputFolder), "--device", device]
        arguments += [_COMMAND_LINE[name] for name, wanted in own.items() if wanted]
        return folderrun.runFolder([command, *arguments], Path(outputFolder), onProgress, shouldCancel)


def _inputs(volumeNode: Any) -> list[Any]:
    return list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
