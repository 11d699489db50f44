"""The widgets' stand-ins: what PythonQt, CTK and Slicer allow, and what they do not."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import choose, click, grab, press, typeText


def test_properties_are_attributes(host):
    import ctk
    import qt

    label = qt.QLabel("text")
    assert label.text == "text"
    with pytest.raises(TypeError, match="not callable"):
        label.text()
    label.setText("other")
    label.name = "title"
    assert (label.text, label.objectName, label.className()) == ("other", "title", "QLabel")
    assert label.inherits("QWidget")
    label.setProperty("SlicerParameterName", "x")
    assert label.SlicerParameterName == label.property("SlicerParameterName") == "x"
    parent = qt.QWidget()
    label.setParent(parent)
    assert parent.title is label
    assert parent.findChildren("QLabel") == parent.findChildren(qt.QWidget) == parent.children() == (label,)
    slider = ctk.ctkSliderWidget()
    slider.maximum = 5
    slider.value = 7
    assert slider.value == slider.property("value") == 5


@pytest.mark.parametrize(
    "code",
    [
        "qt.QLabel().txt",
        "qt.QLabel().set_text('x')",
        "setattr(qt.QLabel(), 'txt', 'x')",
        "setattr(qt.QWidget(), 'visibility', True)",
        "setattr(ctk.ctkSliderWidget(), 'valu', 1)",
        "ctk.ctkSliderWidget().setMaximum(5)",  # no slot
        "ctk.ctkComboBox().setDefaultText('x')",
        "ctk.ctkCollapsibleButton().setCollapsed(True)",
        "ctk.ctkPathLineEdit().setFilters(1)",
        "slicer.qMRMLNodeComboBox().setNodeTypes(['vtkMRMLNode'])",
        "slicer.qMRMLNodeComboBox().currentText",
        "setattr(slicer.qMRMLNodeComboBox(), 'nodeType', 'x')",
        "qt.QPushButton().connect('clickd()', print)",
        "qt.QPushButton().connect('clicked(int)', print)",
        "qt.QCheckBox().checkStateChanged",  # Qt 6
        "qt.QCheckBox().connect('checkStateChanged(Qt::CheckState)', print)",
        "qt.QFormLayout().setRowVisible(0, False)",
        "qt.Qt.AlignmentFlag.AlignLeft",
        "qt.QMessageBox.Icon.Critical",
        "qt.Signal",
        "qt.Slot",
        "qt.QtWidgets",
        "ctk.ctkNoSuchWidget",
        "setattr(slicer.app, 'answer', 1)",
        "slicer.app.noSuchFunction()",
        "slicer.errorDisplay('x')",  # slicer.util's
    ],
)
def test_what_slicer_does_not_have_fails(host, code):
    import ctk
    import qt

    with pytest.raises(AttributeError):
        eval(code, {"qt": qt, "ctk": ctk, "slicer": slicer})


def test_slots_take_as_many_arguments_as_they_want(host):
    import qt

    button, heard = qt.QPushButton(), []
    button.checkable = True
    button.connect("toggled(bool)", heard.append)
    button.connect("toggled(bool)", lambda: heard.append("none"))
    button.clicked.connect(lambda checked: heard.append(("clicked", checked)))
    label = qt.QLabel()
    button.connect("toggled(bool)", label, "setEnabled(bool)")
    button.click()
    assert heard == [True, "none", ("clicked", True)]
    assert button.disconnect("toggled(bool)", heard.append)
    button.click()
    assert heard[3:] == ["none", ("clicked", False)]
    assert not label.enabled


def test_python_classes_may_derive_from_qt(host):
    import qt

    class Card(qt.QFrame):
        def __init__(self) -> None:
            super().__init__()
            self.clicks = 0

        def mousePressEvent(self, event: Any) -> None:
            self.clicks += 1

        def sizeHint(self) -> Any:
            return qt.QSize(70, 50)

    card = Card()
    card.adjustSize()
    card.show()
    click(card)
    assert (card.clicks, card.width) == (1, 70)


@pytest.fixture
def qt(host):
    import qt

    return qt


@pytest.fixture
def ctk(host):
    import ctk

    return ctk


@pytest.fixture
def segmentationNode(host) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    for name in ("liver", "spleen"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def test_collapsible_widgets_hide_what_is_in_them(qt, ctk):
    for box in (ctk.ctkCollapsibleButton("Advanced"), ctk.ctkCollapsibleGroupBox("Advanced")):
        layout = qt.QVBoxLayout(box)
        shown, hidden, later = (qt.QLabel(text) for text in ("shown", "hidden", "later"))
        for label in (shown, hidden, later):
            layout.addWidget(label)
        hidden.visible = later.visible = False
        box.show()
        assert (shown.visible, hidden.visible) == (True, False)
        height = box.sizeHint().height() if callable(box.sizeHint) else box.sizeHint.height()
        click(box)
        assert box.collapsed
        assert not shown.visible
        later.visible = True  # while the box is shut
        assert not later.visible
        click(box)
        assert (shown.visible, hidden.visible, later.visible) == (True, False, True)
        assert height > 30


def test_directory_buttons_and_path_edits_ask(host, ctk, tmp_path):
    button, heard = ctk.ctkDirectoryButton(), []
    button.directoryChanged.connect(heard.append)
    button.show()
    host.answer(str(tmp_path), "")
    click(button.findChild("QPushButton"))
    click(button.findChild("QPushButton"))  # cancelled
    assert button.directory == str(tmp_path)
    assert heard == [str(tmp_path)]
    assert [host.dialogs.take().kind for _ in range(2)] == ["folder", "folder"]

    edit, heard = ctk.ctkPathLineEdit(), []
    edit.filters = ctk.ctkPathLineEdit.Files
    edit.settingKey = "models"
    edit.connect("currentPathChanged(QString)", heard.append)
    host.answer("/models/liver.safetensors")
    edit.browse()
    assert host.dialogs.take("file").text == "Open a file"
    assert edit.currentPath == heard[-1] == "/models/liver.safetensors"
    edit.addCurrentPathToHistory()
    edit.setCurrentPath("/models/other.safetensors")
    assert edit.comboBox().findText("/models/liver.safetensors") == 0


def test_sliders_work_with_mouse_wheel_and_keyboard(host, ctk):
    slider, heard = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals, slider.singleStep = 0, 1, 2, 0.1
    slider.connect("valueChanged(double)", heard.append)
    slider.show()
    slider.setFocus()
    press(slider, "Up")
    press(slider, "Up")
    assert heard == [0.1, 0.2]


def test_check_marks_in_combo_boxes(qt, ctk):
    box, heard = ctk.ctkCheckableComboBox(), []
    box.addItems(["axial", "sagittal"])
    box.connect("checkedIndexesChanged()", lambda: heard.append(len(box.checkedIndexes())))
    assert box.noneChecked()
    box.setCheckState(box.checkableModel().index(1, 0), qt.Qt.Checked)
    assert [index.data() for index in box.checkedIndexes()] == ["sagittal"]
    assert (heard, box.allChecked()) == ([1], False)


def test_choosers_filter_nodes(host):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    assert not box.enabled
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    box.setMRMLScene(slicer.mrmlScene)
    assert box.enabled
    assert [box.nodeFromIndex(i) for i in range(box.nodeCount())] == [volumeNode, labels]
    assert box.currentNode() is None
    box.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    assert box.nodeCount() == 1
    box.hideChildNodeTypes = []
    box.showChildNodeTypes = False
    assert box.nodeCount() == 1
    box.addAttribute("vtkMRMLScalarVolumeNode", "LLMBoost.Map", "entropy")
    assert box.nodeCount() == 0
    volumeNode.SetAttribute("LLMBoost.Map", "entropy")
    box.removeAttribute("vtkMRMLScalarVolumeNode", "LLMBoost.Map")
    box.addAttribute("vtkMRMLScalarVolumeNode", "LLMBoost.Map")
    assert box.nodeCount() == 1
    box.setCurrentNodeIndex(0)
    assert box.currentNodeID == volumeNode.GetID()
    volumeNode.SetHideFromEditors(True)
    box.setMRMLScene(None)
    box.setMRMLScene(slicer.mrmlScene)
    assert box.currentNode() is None


def test_a_node_that_was_asked_for_before_the_scene_is_chosen_then(host):
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setCurrentNode(volumeNode)
    box.setMRMLScene(slicer.mrmlScene)
    assert box.currentNode() is volumeNode


def test_tab_passes_by_choosers_of_nodes_unless_the_panel_helps(host, qt):
    for name in ("first", "second"):
        slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=name)
    for helped in (False, True):
        window = qt.QWidget()
        column = qt.QVBoxLayout(window)
        before, box, after = qt.QLineEdit(), slicer.qMRMLNodeComboBox(), qt.QLineEdit()
        for widget in (before, box, after):
            column.addWidget(widget)
        box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        box.setMRMLScene(slicer.mrmlScene)
        if helped:
            box.findChild("ctkComboBox").setFocusProxy(None)
        window.show()
        before.setFocus()
        press(window, "Tab")
        assert (window.focusWidget() is after) is not helped
        press(window, "Down")
        assert (box.currentNode() is not None) is helped


def test_choosers_of_several_nodes(host, qt):
    box, heard = slicer.qMRMLCheckableNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(slicer.mrmlScene)
    nodes = [slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=name) for name in ("T1", "T2")]
    box.connect("checkedNodesChanged()", lambda: heard.append(len(box.checkedNodes())))
    assert box.uncheckedNodes() == tuple(nodes)
    box.check(nodes[1])
    assert box.checkedNodes() == (nodes[1],)
    assert box.checkState(nodes[0]) == qt.Qt.Unchecked
    box.setCheckState(nodes[0], qt.Qt.Checked)
    assert box.allChecked()
    assert heard == [1, 2]


def test_segments_are_chosen(host, segmentationNode):
    widget, heard = slicer.qMRMLSegmentSelectorWidget(), []
    widget.connect("currentSegmentChanged(QString)", heard.append)
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setCurrentNode(segmentationNode)
    assert widget.currentNode() is segmentationNode
    assert widget.segmentIDs() == ("liver", "spleen")
    assert widget.currentSegmentID() == "liver"
    widget.setCurrentSegmentID("spleen")
    assert heard == ["liver", "spleen"]
    segmentationNode.GetSegmentation().RemoveSegment("spleen")
    assert widget.currentSegmentID() == "liver"
    widget.multiSelection = True
    widget.setSelectedSegmentIDs(["liver"])
    assert widget.selectedSegmentIDs() == ("liver",)


def test_tables_show_titles_and_follow_the_node(host, qt):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "sizes")
    view = slicer.qMRMLTableView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setMRMLTableNode(table)
    slicer.util.updateTableFromArray(table, np.array([[1.5, 2.0]]), ["volume", "voxels"])
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetColumnTitle("volume", "Volume")
    table.SetColumnUnitLabel("volume", "mL")
    table.Modified()
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (1, 2)
    assert [model.headerData(column, qt.Qt.Horizontal) for column in range(2)] == ["Volume [mL]", "voxels"]
    assert model.index(0, 0).data() == "1.5"
    view.setMRMLTableNode(None)
    assert view.model().rowCount() == 0


def test_plot_widgets_name_their_chart(host):
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "loss")
    viewNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setMRMLPlotViewNode(viewNode)
    assert widget.plotView().text == "[no chart]"
    viewNode.SetPlotChartNodeID(chart.GetID())
    assert widget.plotView().text == "[chart: loss]"


def test_the_segment_editor_keeps_its_state_in_its_node(host, session, segmentationNode):
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    editor, heard = slicer.qMRMLSegmentEditorWidget(), []
    editor.setMRMLScene(slicer.mrmlScene)
    editor.connect("segmentationNodeChanged(vtkMRMLSegmentationNode*)", heard.append)
    editor.setSegmentationNode(segmentationNode)  # no editor node yet
    assert editor.segmentationNode() is None
    assert "no editor node" in session.errors.pop()

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(segmentationNode)
    editor.setSourceVolumeNode(volumeNode)
    editor.setCurrentSegmentID("spleen")
    editor.setActiveEffectByName("Paint")
    assert (node.GetSegmentationNode(), node.GetSourceVolumeNode()) == (segmentationNode, volumeNode)
    assert (node.GetSelectedSegmentID(), node.GetActiveEffectName()) == ("spleen", "Paint")
    assert heard == [segmentationNode]
    editor.setMaximumNumberOfUndoStates(3)
    assert editor.maximumNumberOfUndoStates == 3
    editor.setActiveEffect(None)
    assert editor.activeEffect() is None
    slicer.mrmlScene.RemoveNode(segmentationNode)
    assert editor.segmentationNode() is None


class Speed(enum.Enum):
    FAST = 1
    FINE = 2


def wrapper(hint: Any, **defaults: Any) -> Any:
    """Parameters with one attribute ``value`` of that type."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    cls = parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"value": hint}, **defaults}))
    return cls(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_parameters_and_widgets_follow_each_other(host, qt, ctk):
    from slicer.parameterNodeWrapper import Choice, WithinRange

    unit = Annotated[float, WithinRange(0, 1)]
    cases = [
        (bool, qt.QCheckBox(), "checked", True, True),
        (bool, qt.QPushButton(), "checked", True, True),
        (Annotated[int, WithinRange(0, 9)], qt.QSlider(), "value", 4, 4),
        (int, qt.QSpinBox(), "value", 400, 400),
        (unit, qt.QDoubleSpinBox(), "value", 0.25, 0.25),
        (unit, ctk.ctkSliderWidget(), "value", 0.25, 0.25),
        (Annotated[str, Choice(["", "a", "b"])], qt.QComboBox(), "currentIndex", 2, "b"),
        (Speed, ctk.ctkComboBox(), "currentIndex", 1, Speed.FINE),
        (str, qt.QLineEdit(), "text", "new", "new"),
        (Path, ctk.ctkPathLineEdit(), "currentPath", "/tmp", Path("/tmp")),
        (Path, ctk.ctkDirectoryButton(), "directory", "/tmp", Path("/tmp")),
    ]
    for hint, widget, attribute, shown, value in cases:
        widget.setProperty("SlicerParameterName", "value")
        parameters = wrapper(hint)
        before = parameters.value
        tag = parameters.connectGui(holder(widget))
        setattr(widget, attribute, shown)
        assert parameters.value == value
        if not isinstance(before, Path):  # CTK refuses an empty path
            parameters.value = before
            assert getattr(widget, attribute) != shown
        parameters.disconnectGui(tag)
        last = parameters.value
        setattr(widget, attribute, shown)
        assert parameters.value == last


def holder(widget: Any) -> Any:
    """As childWidgetVariables gives it."""
    found = type("", (), {})()
    found.widget = widget
    return found


def test_node_parameters_narrow_their_chooser(host):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes, box.noneEnabled = ["vtkMRMLNode"], True
    box.setMRMLScene(slicer.mrmlScene)
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    parameters = wrapper(slicer.vtkMRMLScalarVolumeNode)
    parameters.connectParametersToGui({"value": box})
    assert box.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    box.show()
    choose(box, "CT")
    assert parameters.value is volumeNode
    parameters.value = None
    assert box.currentNode() is None


def test_pairs_without_connector_are_refused(host, qt, ctk):
    class Box(qt.QCheckBox):
        """Slicer compares the exact class."""

    for hint, widget in (
        (bool, Box()),
        (str, qt.QComboBox()),  # no choices
        (float, ctk.ctkSliderWidget()),  # no range
        (str, slicer.qMRMLSegmentSelectorWidget()),
        (slicer.vtkMRMLScalarVolumeNode, slicer.qMRMLCheckableNodeComboBox()),
    ):
        with pytest.raises(RuntimeError):
            wrapper(hint).connectParametersToGui({"value": widget})
    with pytest.raises(ValueError, match="no parameter"):
        wrapper(bool).connectParametersToGui({"valu": qt.QCheckBox()})


def test_shortcuts_and_tab_order(host, qt):
    window, heard = qt.QWidget(), []
    column = qt.QVBoxLayout(window)
    buttons = [qt.QPushButton(text) for text in ("one", "two", "three")]
    for button in buttons:
        column.addWidget(button)
        button.clicked.connect(lambda checked, text=button.text: heard.append(text))
    window.setTabOrder(buttons[0], buttons[2])
    window.setTabOrder(buttons[2], buttons[1])
    shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Return"), window)
    shortcut.connect("activated()", lambda: heard.append("shortcut"))
    window.show()
    buttons[0].setFocus()
    press(window, "Tab")
    press(window, "Space")
    press(window, "Ctrl+Return")
    assert heard == ["three", "shortcut"]


def test_menus_and_links_do_not_block(host, qt):
    menu, heard = qt.QMenu(), []
    action = menu.addAction("&Copy")
    action.triggered.connect(lambda: heard.append("copied"))
    menu.addAction("Delete")
    host.answer("Copy")
    assert menu.exec_(qt.QCursor.pos()) is action
    assert (heard, host.dialogs.take("menu").buttons) == (["copied"], ("Copy", "Delete"))
    qt.QDesktopServices.openUrl(qt.QUrl("https://www.slicer.org"))
    assert host.dialogs.urls == ["https://www.slicer.org"]


def test_messages_without_buttons_do_not_block(host, qt):
    slicer.util.delayDisplay("Half done", 500)
    assert host.dialogs.take("dialog").text == "Half done"
    with slicer.util.MessageDialog("Working"), slicer.util.WaitCursor():
        assert qt.QApplication.overrideCursor().shape() == qt.Qt.WaitCursor
    assert qt.QApplication.overrideCursor() is None
    with pytest.raises(ValueError, match="bad"), slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
        raise ValueError("bad")
    assert host.dialogs.take("error").text == "Failed.\n\nbad"


def test_dialogs_of_ones_own_are_used_by_the_test(host, qt):
    dialog = qt.QDialog()
    column, entry = qt.QVBoxLayout(dialog), qt.QLineEdit()
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    buttons.connect("accepted()", dialog, "accept()")
    column.addWidget(entry)
    column.addWidget(buttons)

    def use(shown: Any) -> None:
        typeText(entry, "liver")
        click(buttons.button(qt.QDialogButtonBox.Ok))

    host.answer(use, False)
    assert dialog.exec_() == qt.QDialog.Accepted
    assert entry.text == "liver"
    assert dialog.exec_() == qt.QDialog.Rejected
    assert [host.dialogs.take("dialog").buttons for _ in range(2)] == [("OK", "Cancel")] * 2


def test_pictures_have_readable_text(host, qt, tmp_path):
    label = qt.QLabel("Wi")
    metrics = qt.QFontMetrics(label.font)
    assert metrics.horizontalAdvance("W") > 2 * metrics.horizontalAdvance("i")  # else boxes stand for letters
    label.show()
    picture = qt.QImage(str(grab(label, tmp_path / "pictures" / "label.png")))
    assert (picture.width(), picture.height()) == (label.width, label.height)
    assert len({picture.pixel(x, y) for x in range(picture.width()) for y in range(picture.height())}) > 2
