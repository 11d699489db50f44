"""The effect "LLMBoost strokes" of Slicer's Segment Editor: paint a little, get the whole.

Slicer loads this file by itself, as a module of its folder's name. What the effect shows is asked of the worker, and
:meth:`computePreviewLabelmap` never waits for it: it gives the strokes and the last answer, and an answer that comes
makes Slicer's base class ask again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorAutoCompleteEffect
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card
from llmboost.errors import LLMBoostError
from llmboost.messages.images import Volume
from llmboost.messages.strokes import StrokesAnswer, StrokesKept
from llmboost.messages.words import ErrorKind
from llmboost.messages.worker import Progress
from LLMBoostLib.panels.errordisplay import errorsShown
from LLMBoostLib.scene.fit import modalityInScene
from LLMBoostLib.scene.volumes import frameWarnings, roiFromNode, volumeFromImage, worldFromNode
from LLMBoostLib.segment.request import cardOf
from LLMBoostLib.strokes import keeping
from LLMBoostLib.strokes.knowledge import AUTOMATIC, WALKER, whoKnow
from LLMBoostLib.strokes.options import Options
from LLMBoostLib.strokes.painting import Painting, kindsOf, maskedOut, paintingOf, writeLabelmap
from LLMBoostLib.strokes.registration import NAME
from LLMBoostLib.strokes.session import Question, Session, sharedClient
from LLMBoostLib.training.cases import Kind
from LLMBoostLib.worker.consent import hint, whenReady
from LLMBoostLib.worker.troubles import WorkerError

_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
_NEXT_KEY = "N"
_RETRY_MS = 1000


class SegmentEditorEffect(AbstractScriptedSegmentEditorAutoCompleteEffect):
    """See the module's text. Slicer's base class has preview, update after each stroke, 3D, Apply with undo, Cancel."""

    def __init__(self, scriptedEffect: Any) -> None:
        super().__init__(scriptedEffect)
        scriptedEffect.name = NAME
        scriptedEffect.title = _("LLMBoost strokes")
        self.options = Options(scriptedEffect, self._onOptions)
        self._session: Session | None = None
        self._isReady = False  # packages are there, and images may be sent
        self._renewing = False  # the base class makes another preview, which is no reason to forget anything
        self._seen: set[str] = set()  # the segments that there were at the last preview
        self._shortcut: Any = None
        self._painting: Painting | None = None  # that was asked about
        self._question: Question | None = None  # what was asked; None: it has to be asked (again)
        self._forgetAnswer()

    def _forgetAnswer(self) -> None:
        self._answer: StrokesAnswer | None = None
        self._answered: tuple[Any, ...] = ()  # the segments that it is about
        self._card: Card | None = None  # whose labels' values it has
        self._place = 0  # the next unsure one

    # What Slicer asks for

    def clone(self) -> Any:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        copy = effects.qSlicerSegmentEditorScriptedEffect(None)
        copy.setPythonSource(Path(__file__).as_posix())
        return copy

    def icon(self) -> Any:
        return qt.QIcon(str(Path(__file__).with_suffix(".png")))

    def helpText(self) -> str:
        return "<html>" + _(
            "Paint a little, get the whole.<ol><li>Add a segment for each structure; for what is none of them, one"
            " named <b>background</b>. In two or three slices, paint a stroke inside of each with <b>Paint</b>.</li>"
            "<li>Come back here: the whole is drawn, by a random walker at once, and then by an installed model that"
            " knows the structures, if there is one, which learns from the strokes.</li><li>Where it is wrong, paint"
            " on; <b>Space</b> goes to and fro. <b>N</b> shows where a stroke helps most.</li><li><b>Apply</b>, or"
            " <b>Cancel</b>.</li></ol>What was painted always stays as it was painted. For research only."
        )

    def setupOptionsFrame(self) -> None:
        self.options.addChoices()
        super().setupOptionsFrame()
        self.options.addResult(self._onNextPlace, self._onKeep, self._onAdd, self._onTrain)

    def setMRMLDefaults(self) -> None:
        super().setMRMLDefaults()
        self.options.setDefaults()

    def updateGUIFromMRML(self) -> None:
        super().updateGUIFromMRML()
        self.options.show()

    def activate(self) -> None:
        """Who comes back with strokes wants to see what they give."""
        self.options.showChoices(whoKnow(kindsOf(self._segmentationNode, self._visible())))
        if self.getPreviewNode() is None and self._isPainted() and not hint():
            qt.QTimer.singleShot(0, self.onPreview)

    def sourceVolumeNodeChanged(self) -> None:
        self._question = None
        if self.getPreviewNode() is not None:
            self.delayedAutoUpdateTimer.start()

    def cleanup(self) -> None:
        super().cleanup()
        if self._session:
            self._session.close()

    # Segments

    @property
    def _segmentationNode(self) -> Any:
        node = self.scriptedEffect.parameterSetNode()
        return node.GetSegmentationNode() if node else None

    def _visible(self) -> list[str]:
        """The IDs of the segments that count."""
        node = self._segmentationNode
        if node is None or node.GetDisplayNode() is None:
            return []
        found = vtk.vtkStringArray()
        node.GetDisplayNode().GetVisibleSegmentIDs(found)
        return [found.GetValue(n) for n in range(found.GetNumberOfValues())]

    def _selected(self) -> list[str]:
        """Those of the preview."""
        found = self.selectedSegmentIds
        return [found.GetValue(n) for n in range(found.GetNumberOfValues())] if found else []

    def _isPainted(self) -> bool:
        segmentation = self._segmentationNode.GetSegmentation()
        layers = [segmentation.GetSegment(each).GetRepresentation(_LABELMAP) for each in self._visible()]
        return any(layer is not None and layer.GetPointData().GetScalars() is not None for layer in layers)

    def onSegmentationModified(self, caller: Any, event: str) -> None:
        """As the base class, but segments that were added since the last preview count, too."""
        if set(self._segmentationNode.GetSegmentation().GetSegmentIDs()) - self._seen:
            if self.autoUpdateCheckBox.checked and not self.previewComputationInProgress:
                self.delayedAutoUpdateTimer.start()
        else:
            super().onSegmentationModified(caller, event)

    # Preview

    def onPreview(self) -> None:
        if self._isReady:
            super().onPreview()
            return
        with errorsShown():
            whenReady(sharedClient(), self._onReady, self._onError)

    def _onReady(self) -> None:
        self._isReady = True
        self._session = Session(sharedClient(), self._onAnswer, self._onError, self._onProgress)
        self.onPreview()

    def preview(self) -> None:
        self._renewing = True
        self._seen = set(self._segmentationNode.GetSegmentation().GetSegmentIDs())
        try:
            if self.getPreviewNode() is not None and set(self._visible()) - set(self._selected()):
                self.reset()
            super().preview()
        finally:
            self._renewing = False

    def computePreviewLabelmap(self, mergedImage: Any, outputLabelmap: Any) -> None:
        """Write what is known of the whole, and ask for more if something was painted since."""
        image, node = self.scriptedEffect.sourceVolumeImageData(), self._segmentationNode
        painting = paintingOf(kindsOf(node, self._selected()), mergedImage, image)
        self._ask(painting, image)
        answer = self._answer if self._answered == painting.kinds else None
        array, start = painting.completed(answer, self._card)
        writeLabelmap(outputLabelmap, array, start, image)
        editorNode = self.scriptedEffect.parameterSetNode()
        if (forbidden := maskedOut(node, editorNode, outputLabelmap, image)) is not None:
            array[forbidden] = 0
            writeLabelmap(outputLabelmap, array, start, image)

    def _ask(self, painting: Painting, image: Any) -> None:
        """Unless just that was asked."""
        assert self._session
        try:
            question = self._questionOf(painting, image)
        except LLMBoostError as error:
            self._onError(error)
            return
        last = self._question
        sameWay = last is not None and _way(last) == _way(question)
        if not painting.array.any() or (sameWay and painting.sameAs(self._painting)):
            return
        self._painting, self._question = painting, question
        self._setKey(True)
        self._session.ask(question)

    def _questionOf(self, painting: Painting, image: Any) -> Question:
        node, volumeNode = self._segmentationNode, self.scriptedEffect.parameterSetNode().GetSourceVolumeNode()
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        frames = slicer.util.arrayFromVTKMatrix(matrix), worldFromNode(node)

        def volume() -> Volume:
            return volumeFromImage(image, node, volumeNode.GetName())

        model = self._chosenModel(painting.painted)
        roiNode = self.options.roiNode
        return Question(
            place=(volumeNode.GetID(), image.GetMTime(), *(frame.tobytes() for frame in frames)),
            image=volume,
            model=model,
            modality=modalityInScene(volumeNode),
            strokes=painting.strokes(cardOf(model) if model else None),
            start=painting.start,
            roi=roiFromNode(roiNode, node) if roiNode else None,
        )

    def _chosenModel(self, painted: tuple[Kind, ...]) -> str:
        """Its name; empty where none knows all that is painted, or none is to learn."""
        cards, chosen = whoKnow(painted), self.options.model
        self.options.showChoices(cards)
        if not self.options.learn:
            return ""
        if chosen == AUTOMATIC:
            return cards[0].name if cards else ""
        return chosen if chosen in [card.name for card in cards] else ""

    def _onAnswer(self, answer: StrokesAnswer, question: Question) -> None:
        if question is not self._question or self._painting is None or self.getPreviewNode() is None:
            return
        self._answer, self._answered, self._place = answer, self._painting.kinds, 0
        self._card = cardOf(question.model) if question.model else None
        assert self._session
        warnings = frameWarnings(self._segmentationNode)
        if self.options.model not in (AUTOMATIC, WALKER, question.model) and self.options.learn:
            text = _("{model} does not know all that is painted: the random walker draws")
            warnings.append(text.format(model=self.options.model))
        self.options.showAnswer(answer, self._session.busy, warnings)
        self.onPreview()

    def _onError(self, error: Exception) -> None:
        """The strokes stay; the next one, or Update, asks again."""
        self._question = None
        self.options.tellError(error)
        if isinstance(error, WorkerError) and error.kind == ErrorKind.BUSY and self.getPreviewNode() is not None:
            qt.QTimer.singleShot(_RETRY_MS, self._retry)

    def _retry(self) -> None:
        if self._question is None and self.getPreviewNode() is not None:
            self.onPreview()

    def _onProgress(self, news: Progress) -> None:
        if self._answer is None or self._question is None:
            self.options.tell(news.text)

    def _onOptions(self) -> None:
        if self.getPreviewNode() is not None:
            self.delayedAutoUpdateTimer.start()

    def reset(self) -> None:
        if not self._renewing:
            if self._session:
                self._session.cancel()
            self._painting = self._question = None
            self._forgetAnswer()
            self.options.disableResult()
            self._setKey(False)
        super().reset()

    def onCancel(self) -> None:
        super().onCancel()
        self.options.showAnswer(None)
        if self._session:
            self._session.close()

    def leave(self) -> None:
        """The editor is closed: nothing of a preview stays."""
        if self.getPreviewNode() is not None:
            self.onCancel()

    # Buttons

    def _setKey(self, wanted: bool) -> None:
        """The key for the next unsure place, as long as there is a preview: also while Paint is in use."""
        window = slicer.util.mainWindow()
        if wanted and self._shortcut is None and window:
            self._shortcut = qt.QShortcut(qt.QKeySequence(_NEXT_KEY), window)
            self._shortcut.connect("activated()", self._onNextPlace)
        elif not wanted and self._shortcut is not None:
            self._shortcut.disconnect("activated()", self._onNextPlace)
            self._shortcut.setParent(None)
            self._shortcut.deleteLater()
            self._shortcut = None

    def _onNextPlace(self) -> None:
        """Show it in all slice views."""
        if self._answer and self._answer.unsure:
            places = self._answer.unsure
            x, y, z = places[self._place % len(places)]
            self._place += 1
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, -x, -y, z)  # LPS

    def _onKeep(self) -> None:
        with errorsShown():
            assert self._session
            assert self._answer
            if host := sharedClient().remoteHost:
                text = _("The worker runs on {host}: what was learned cannot be kept on this machine")
                raise LLMBoostError(text.format(host=host))
            path = library.user_folder() / (keeping.freeName(self._answer.model) + library.EXTENSION)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._session.keep(str(path), self._onKept)
            self.options.keepButton.enabled = False

    def _onKept(self, kept: StrokesKept) -> None:
        text = _("Kept as model '{name}': it is used from now on, for the next image and in LLMBoost Segment")
        self.options.tell("\n".join([text.format(name=kept.card.name), *kept.warnings]))

    def _onAdd(self) -> None:
        with errorsShown():
            volumeNode = self.scriptedEffect.parameterSetNode().GetSourceVolumeNode()
            result = self.getPreviewNode() if self.options.rightBox.checked else None
            cases = keeping.addCase(volumeNode, self._segmentationNode, result, self._card)
            self.options.tell(keeping.describe(cases, result is not None))
            self.options.trainButton.enabled = True

    def _onTrain(self) -> None:
        """Open LLMBoost Train, ready for what is painted."""
        with errorsShown():
            known = whoKnow(kindsOf(self._segmentationNode, self._visible()))
            slicer.util.selectModule("LLMBoostTrain")
            widget = slicer.util.getModuleWidget("LLMBoostTrain")
            widget.panel.chooseFor(known[0] if known else None)


def _way(question: Question) -> tuple[Any, ...]:
    """What tells questions apart besides the strokes."""
    roi = question.roi and (question.roi.center, question.roi.size, question.roi.axes.tobytes())
    return question.place, question.model, roi
