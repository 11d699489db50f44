"""The GUI's stand-in itself, on a small module that the tests write."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import Host, choose, click, press, typeText

MODULE = """
    import logging
    from typing import Annotated
    import ctk, qt, vtk, slicer
    from slicer.i18n import tr as _
    from slicer.ScriptedLoadableModule import *
    from slicer.util import VTKObservationMixin
    from slicer.parameterNodeWrapper import parameterNodeWrapper, WithinRange


    class Sample(ScriptedLoadableModule):
        def __init__(self, parent):
            super().__init__(parent)
            parent.title = _("Sample")
            slicer.app.connect("startupCompleted()", registerSampleData)

    def registerSampleData():
        import SampleData
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category="Sample", sampleName="phantom")


    @parameterNodeWrapper
    class SampleParameters:
        inputVolume: slicer.vtkMRMLScalarVolumeNode
        output: slicer.vtkMRMLSegmentationNode
        opacity: Annotated[float, WithinRange(0, 1)] = 0.5
        invert: bool = False
        label: str = "x"


    class SampleTest(ScriptedLoadableModuleTest):
        def runTest(self):
            self.delayDisplay("testing")
            assert slicer.util.mainWindow() is None


    class SampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
        def __init__(self, parent=None):
            ScriptedLoadableModuleWidget.__init__(self, parent)
            VTKObservationMixin.__init__(self)
            self.parameters, self.tag, self.log = None, None, []

        def setup(self):
            super().setup()
            ui = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
            self.layout.addWidget(ui)
            self.ui = slicer.util.childWidgetVariables(ui)
            ui.setMRMLScene(slicer.mrmlScene)
            self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
            self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
            self.ui.applyButton.connect("clicked(bool)", self.onApply)
            self.ui.askButton.clicked.connect(self.onAsk)
            self.timer = qt.QTimer()
            self.timer.setInterval(5)
            self.timer.timeout.connect(self.onTimer)
            self.initialize()

        def cleanup(self):
            self.log.append("cleanup")
            self.timer.stop()
            self.set(None)
            self.removeObservers()

        def enter(self):
            self.log.append("enter")
            self.initialize()

        def exit(self):
            self.log.append("exit")
            self.set(None)

        def onSceneStartClose(self, caller, event):
            self.set(None)

        def onSceneEndClose(self, caller, event):
            self.initialize()

        def initialize(self):
            self.set(SampleParameters(ScriptedLoadableModuleLogic.getParameterNode(self.makeLogic())))

        def makeLogic(self):
            logic = ScriptedLoadableModuleLogic()
            logic.moduleName = self.moduleName
            return logic

        def set(self, parameters):
            if self.parameters:
                self.parameters.disconnectGui(self.tag)
                self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.check)
            self.parameters = parameters
            if parameters:
                self.tag = parameters.connectGui(self.ui)
                self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.check)
                self.check()

        def check(self, caller=None, event=None):
            self.ui.applyButton.enabled = self.parameters.inputVolume is not None
            self.ui.applyButton.toolTip = _("Run") if self.ui.applyButton.enabled else _("Select a volume")

        def onApply(self):
            self.ui.statusLabel.text = f"working on {self.parameters.inputVolume.GetName()}"
            self.ui.progressBar.value = 0
            self.timer.start()

        def onTimer(self):
            self.ui.progressBar.value += 25
            if self.ui.progressBar.value == 100:
                self.timer.stop()
                self.ui.statusLabel.text = "done"

        def onAsk(self):
            self.answered = slicer.util.confirmYesNoDisplay("Really?")
            if self.answered:
                with slicer.util.tryWithErrorDisplay("It failed."):
                    raise RuntimeError("no disk")
"""


def widgetXml(kind: str, name: str, contents: str = "", **properties: Any) -> str:
    """A widget of a .ui file; a property ``parameter`` is its dynamic property SlicerParameterName."""

    def value(given: Any) -> str:
        kinds = {bool: "bool", str: "string", float: "double", list: "stringlist"}
        tag = "set" if isinstance(given, str) and "::" in given else kinds[type(given)]
        text = "".join(f"<string>{item}</string>" for item in given) if isinstance(given, list) else str(given)
        return f"<{tag}>{text.lower() if isinstance(given, bool) else text}</{tag}>"

    parameter = properties.pop("parameter", None)
    lines = [f'<property name="{key}">{value(given)}</property>' for key, given in properties.items()]
    if parameter:
        lines.append(f'<property name="SlicerParameterName" stdset="0">{value(parameter)}</property>')
    return f'<widget class="{kind}" name="{name}">{"".join(lines)}{contents}</widget>'


def layoutXml(kind: str, name: str, *widgets: str) -> str:
    return f'<layout class="{kind}" name="{name}">{"".join(f"<item>{widget}</item>" for widget in widgets)}</layout>'


def connectionXml(receiver: str) -> str:
    return (
        "<connection><sender>Sample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>"
        f"<receiver>{receiver}</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
    )


def uiXml() -> str:
    inputs = layoutXml(
        "QVBoxLayout",
        "inputColumn",
        widgetXml(
            "qMRMLNodeComboBox",
            "inputSelector",
            nodeTypes=["vtkMRMLScalarVolumeNode"],
            addEnabled=False,
            noneEnabled=True,
            parameter="inputVolume",
        ),
        widgetXml(
            "qMRMLNodeComboBox",
            "outputSelector",
            nodeTypes=["vtkMRMLSegmentationNode"],
            noneEnabled=True,
            renameEnabled=True,
            noneDisplay="(new)",
            baseName="Result",
            parameter="output",
        ),
    )
    advanced = layoutXml(
        "QVBoxLayout",
        "advancedColumn",
        widgetXml("ctkSliderWidget", "opacitySlider", singleStep=0.05, parameter="opacity"),
        widgetXml("QCheckBox", "invertBox", text="Invert", parameter="invert"),
        widgetXml("QLineEdit", "labelEdit", parameter="label"),
        widgetXml("ctkPathLineEdit", "pathEdit", filters="ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable"),
    )
    column = layoutXml(
        "QVBoxLayout",
        "column",
        widgetXml("ctkCollapsibleButton", "inputs", inputs, text="Inputs"),
        widgetXml("ctkCollapsibleButton", "advanced", advanced, text="Advanced", collapsed=True),
        widgetXml("QPushButton", "applyButton", text="Apply", enabled=False),
        widgetXml("QPushButton", "askButton", text="Ask"),
        widgetXml("QProgressBar", "progressBar"),
        widgetXml("QLabel", "statusLabel"),
    )
    connections = connectionXml("inputSelector") + connectionXml("outputSelector")
    form = widgetXml("qMRMLWidget", "Sample", column)
    return f'<ui version="4.0"><class>Sample</class>{form}<connections>{connections}</connections></ui>'


@pytest.fixture
def moduleFile(tmp_path: Path) -> Path:
    folder = tmp_path / "Sample"
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Sample.py").write_text(textwrap.dedent(MODULE))
    (folder / "Resources" / "UI" / "Sample.ui").write_text(uiXml())
    return folder / "Sample.py"


@pytest.fixture
def sample(host: Host, moduleFile: Path) -> Any:
    return host.openModule(moduleFile)


def addVolume(name: str = "CT") -> Any:
    return slicer.util.addVolumeFromArray(np.zeros((3, 4, 5)), name=name)


def test_a_panel_is_worked_with_mouse_and_parameter_node(host, sample):
    ui = sample.ui
    assert not ui.applyButton.enabled
    click(ui.applyButton)
    assert ui.statusLabel.text == ""
    volumeNode = addVolume()
    choose(ui.inputSelector, "CT")
    assert sample.parameters.inputVolume is volumeNode
    assert ui.applyButton.enabled
    click(ui.applyButton)
    assert ui.statusLabel.text == "working on CT"
    host.runUntil(lambda: ui.statusLabel.text == "done")
    assert ui.progressBar.value == 100


def test_questions_are_answered_and_errors_shown(host, sample):
    host.answer(False)
    click(sample.ui.askButton)
    question = host.dialogs.take("question")
    assert (question.text, question.buttons) == ("Really?", ("Yes", "No"))
    assert sample.answered is False

    host.answer(True)
    click(sample.ui.askButton)
    assert sample.answered is True
    host.dialogs.take("question")
    error = host.dialogs.take("error")
    assert error.text == "It failed.\n\nno disk"
    assert "RuntimeError: no disk" in error.detailedText
    assert "RuntimeError: no disk" in host.errors.pop()  # tryWithErrorDisplay raises again


def test_what_nobody_expects_is_a_failure(host, sample):
    click(sample.ui.askButton)
    with pytest.raises(AssertionError, match="nobody answers"):
        host.check()
    host.errors.clear()
    with pytest.raises(AssertionError, match=r"nobody answered .*Really"):
        host.check()
    host.dialogs.reset()
    slicer.util.infoDisplay("All is well")
    with pytest.raises(AssertionError, match=r"nobody expected .*All is well"):
        host.check()
    host.dialogs.take("info")
    host.answer("Cancel")
    with pytest.raises(AssertionError, match="nobody asked"):
        host.check()
    host.dialogs.reset()


def test_the_keyboard_reaches_widgets_and_the_parameter_node(host, sample):
    ui = sample.ui
    ui.invertBox.visible = False
    with pytest.raises(AssertionError, match="hidden"):
        click(ui.invertBox)
    ui.invertBox.visible = True
    click(ui.invertBox)
    assert not ui.advanced.collapsed  # opened on the way, as a user would
    assert sample.parameters.invert is True
    press(ui.invertBox, "Space")
    assert sample.parameters.invert is False
    typeText(ui.labelEdit, "yz")
    assert sample.parameters.label == "xyz"
    press(ui.labelEdit, "Shift+Tab")
    assert ui.invertBox.focus
    sample.parameters.opacity = 0.25
    assert ui.opacitySlider.value == 0.25
    ui.opacitySlider.value = 1.5
    assert sample.parameters.opacity == 1
    host.answer("/data")
    click(ui.pathEdit.findChild("QToolButton"))
    assert host.dialogs.take("folder").text == "Select a directory..."
    assert ui.pathEdit.currentPath == "/data"


def test_removing_the_chosen_node_selects_its_neighbour_or_none(host, sample):
    first, second = addVolume("first"), addVolume("second")
    heard = []
    sample.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    sample.ui.inputSelector.connect("currentNodeChanged(bool)", heard.append)
    choose(sample.ui.inputSelector, "first")
    assert heard == [first, True]
    slicer.mrmlScene.RemoveNode(first)
    assert sample.parameters.inputVolume is second
    slicer.mrmlScene.RemoveNode(second)
    assert sample.parameters.inputVolume is None
    assert heard[2:] == [second, True, None, False]
    assert not sample.ui.applyButton.enabled


def test_the_node_chooser_makes_renames_and_deletes_nodes(host, sample):
    box = sample.ui.outputSelector
    choose(box, "Create new Segmentation")
    node = sample.parameters.output
    assert node.GetName() == "Result"
    host.answer("Liver")
    choose(box, "Rename current Segmentation")
    host.dialogs.take("input")
    assert node.GetName() == "Liver"
    host.answer("Spleen")
    choose(box, "Create new Segmentation as...")
    host.dialogs.take("input")
    assert sample.parameters.output.GetName() == "Spleen"
    choose(box, "(new)")
    assert sample.parameters.output is None
    choose(box, "Spleen")
    choose(box, "Delete current Segmentation")
    assert [x.GetName() for x in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")] == ["Liver"]
    assert sample.parameters.output is node


def test_closing_and_loading_scenes(host, sample, tmp_path):
    choose(sample.ui.inputSelector, addVolume().GetName())
    sample.ui.opacitySlider.value = 0.75
    slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    host.closeScene()
    assert sample.parameters.inputVolume is None
    assert sample.ui.opacitySlider.value == 0.5
    assert sample.ui.inputSelector.nodeCount() == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    assert sample.ui.inputSelector.nodeCount() == 1
    sample.enter()
    assert sample.parameters.inputVolume.GetName() == "CT"
    assert sample.ui.inputSelector.currentNode() is sample.parameters.inputVolume
    assert sample.ui.opacitySlider.value == 0.75


def test_modules_are_entered_left_reloaded_and_cleaned_up(host, sample, moduleFile):
    assert sample.log == ["enter"]
    slicer.util.selectModule("SegmentEditor")
    assert slicer.util.selectedModule() == "SegmentEditor"
    assert sample.log == ["enter", "exit"]
    assert not sample.parent.isEntered
    host.selectModule("Sample")
    moduleFile.write_text(moduleFile.read_text().replace('_("Run")', '_("Start")'))
    again = host.reload("Sample")
    assert sample.log == ["enter", "exit", "enter", "cleanup"]
    assert again is not sample
    assert again is slicer.modules.SampleWidget is slicer.util.getModuleWidget("Sample")
    addVolume()
    again.enter()
    choose(again.ui.inputSelector, "CT")
    assert again.ui.applyButton.toolTip == "Start"
    heard = []
    slicer.app.connect("aboutToQuit()", lambda: heard.append(list(again.log)))
    host.quit()
    assert heard == [["enter"]]
    assert again.log == ["enter", "exit", "cleanup"]
    assert not hasattr(slicer.modules, "sample")


def test_sample_data_are_registered_when_the_application_has_started(host, sample):
    from SampleData import SampleDataLogic

    assert {"category": "Sample", "sampleName": "phantom"} in SampleDataLogic.sources
    with pytest.raises(TypeError):
        SampleDataLogic.registerCustomSampleDataSource(name="phantom")


def test_settings_last_for_one_run(host, tmp_path):
    import qt

    qt.QSettings().setValue("Sample/Command", "python")
    assert slicer.util.settingsValue("Sample/Command", "") == "python"
    assert slicer.app.userSettings().value("Sample/Command") == "python"
    slicer.app.userSettings().sync()
    assert "python" in next((tmp_path / "settings").rglob("*.ini")).read_text()
    assert slicer.util.settingsValue("Sample/Missing", True, converter=slicer.util.toBool) is True


def test_settings_of_another_run_are_gone(host):
    assert slicer.util.settingsValue("Sample/Command", "") == ""


def test_the_application_without_main_window_shows_nothing(host, sample):
    assert slicer.util.mainWindow().className() == "qSlicerMainWindow"
    with host.withoutMainWindow():
        assert slicer.util.mainWindow() is None
        assert slicer.app.layoutManager() is None
        slicer.util.errorDisplay("logged only")
        slicer.util.confirmYesNoDisplay("Install?")
        slicer.selfTests["Sample"]()
    assert not host.dialogs.shown


def test_python_threads_starve_while_the_event_loop_runs(host):
    """Slicer's event loop keeps Python's lock: other threads advance only where a slot yields."""
    count, stop = [0], threading.Event()
    slicer.util.mainWindow().hide()  # painting in Python would yield; Slicer's windows are painted in C++
    host.loop.tick()

    def work() -> None:
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        sys.setswitchinterval(10)  # nobody takes the lock from a thread that runs
        before = count[0]
        for _ in range(3):
            host.loop.tick()
        advanced = count[0] - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert advanced == 0


def test_errors_in_slots_and_observers_fail_the_test(host):
    import qt

    def fail(*_: Any) -> None:
        raise RuntimeError("in a slot")

    qt.QTimer.singleShot(0, fail)
    host.runUntil(lambda: bool(host.errors))
    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, fail)
    addVolume()
    slicer.mrmlScene.RemoveObserver(tag)
    assert all("in a slot" in error for error in host.errors)
    assert len(host.errors) > 1
    with pytest.raises(AssertionError, match="in a slot"):
        host.check()
    host.errors.clear()


def test_ui_files_with_mistakes_are_refused(host, moduleFile):
    path = moduleFile.parent / "Resources" / "UI" / "Sample.ui"
    good = path.read_text()
    for found, replacement, message in (
        ("noneEnabled", "noneEnable", "has no property noneEnable"),
        ("ctkSliderWidget", "ctkSlidingWidget", "no stand-in for ctkSlidingWidget"),
        ("<slot>setMRMLScene", "<slot>setScene", "no attribute named 'setScene'"),
        ("mrmlSceneChanged", "sceneChanged", "has no signal sceneChanged"),
    ):
        path.write_text(good.replace(found, replacement))
        with pytest.raises((AttributeError, RuntimeError), match=message):
            slicer.util.loadUI(str(path))
