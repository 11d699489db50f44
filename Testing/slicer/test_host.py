"""The application's stand-in itself."""

from __future__ import annotations

import enum
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import slicer
from Testing.host import EventLoop


def test_scenes_are_empty_at_first_and_views_are_there(scene):
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    assert {view.GetName(): view.GetOrientation() for view in views} == {
        "Red": "Axial",
        "Yellow": "Sagittal",
        "Green": "Coronal",
    }
    assert slicer.mrmlScene is scene is slicer.app.mrmlScene()


def test_nodes_get_and_lose_their_item_in_the_subject_hierarchy(scene, makeVolume):
    volumeNode = makeVolume(np.zeros((2, 3, 4)))
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volumeNode)
    assert hierarchy.GetItemName(item) == "image"
    scene.RemoveNode(volumeNode)
    assert hierarchy.GetItemDataNode(item) is None


@pytest.mark.parametrize("name", ["image.nrrd", "image.nii.gz", "image.mha"])
def test_slicer_util_saves_and_loads_volumes(scene, makeVolume, tmp_path, oblique, name):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert slicer.util.saveNode(makeVolume(array, oblique), str(tmp_path / name), {})
    loaded = slicer.util.loadVolume(str(tmp_path / name), {})
    assert loaded.GetName() == "image_1"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), array)


def test_a_scene_is_saved_and_loaded(scene, makeVolume, tmp_path):
    makeVolume(np.ones((2, 3, 4)), name="kept")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    assert slicer.util.arrayFromVolume(slicer.util.getNode("kept")).all()


def test_loading_what_is_not_there_fails_as_in_slicer(scene, tmp_path):
    with pytest.raises(RuntimeError, match="no such file"):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"), {})


@pytest.mark.parametrize("holdLock", [True, False])
def test_other_threads_stand_still_between_ticks_while_the_lock_is_held(holdLock):
    loop, count, stop = EventLoop(0.05, holdLock), [0], threading.Event()

    def work():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)  # yields

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        sys.setswitchinterval(10)  # nobody takes the lock from a thread that runs
        time.sleep(0.05)  # but for one who had asked for it before
        before = count[0]
        loop.tick()
        advanced = count[0] > before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert advanced is not holdLock


def test_the_loop_calls_its_slots_until_a_condition_holds():
    loop, calls = EventLoop(0), []
    loop.slots.append(lambda: calls.append(len(calls)))
    loop.runUntil(lambda: len(calls) == 3)
    assert calls == [0, 1, 2]
    assert loop.longestTick > 0
    with pytest.raises(TimeoutError):
        loop.runUntil(lambda: False, timeout=0)


class Speed(enum.Enum):
    FAST = 1
    FINE = 2


def test_parameters_live_in_the_scene(scene, makeVolume):
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    def wrapped():
        hints = {
            "inputVolume": slicer.vtkMRMLScalarVolumeNode,
            "opacity": Annotated[float, WithinRange(0, 1)],
            "mirror": bool,
            "count": int,
            "speed": Speed,
        }
        parameters = parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints, "opacity": 0.5}))
        return parameters(ScriptedLoadableModuleLogic().getParameterNode())

    parameters = wrapped()
    assert (parameters.inputVolume, parameters.opacity, parameters.mirror) == (None, 0.5, False)
    assert (parameters.count, parameters.speed) == (0, Speed.FAST)
    parameters.inputVolume = volumeNode = makeVolume(np.zeros((2, 3, 4)))
    parameters.mirror, parameters.count, parameters.speed = True, 3, Speed.FINE
    with pytest.raises(ValueError, match="outside"):
        parameters.opacity = 2
    with pytest.raises(AttributeError, match="no parameter"):
        parameters.misspelt = 1
    again = wrapped()
    assert again.inputVolume is volumeNode
    assert (again.mirror, again.count, again.speed, again.opacity) == (True, 3, Speed.FINE, 0.5)


def wrapped(hints: dict, **defaults):
    """A class of parameters with these type hints."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints, **defaults}))


@pytest.fixture
def parameterNode(scene):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    return ScriptedLoadableModuleLogic().getParameterNode()


@pytest.mark.parametrize(
    ("hint", "bad", "error"),
    [
        (int, 1.5, TypeError),
        (bool, 1, TypeError),
        (str, None, ValueError),
        (float, "1", TypeError),
        (slicer.vtkMRMLScalarVolumeNode, "CT", TypeError),
        (Path, "/tmp", TypeError),
    ],
)
def test_parameters_refuse_what_has_another_type(parameterNode, hint, bad, error):
    parameters = wrapped({"value": hint})(parameterNode)
    before = parameters.value
    with pytest.raises(error):
        parameters.value = bad
    assert parameters.value == before


def test_parameters_have_the_defaults_of_their_annotations(parameterNode):
    from slicer.parameterNodeWrapper import Choice, Default, Maximum, Minimum

    hints = {
        "count": Annotated[int, Minimum(1), Maximum(5), Default(2)],
        "mode": Annotated[str, Choice(["a", "b"]), Default("b")],
        "folder": Path,
        "maybe": slicer.vtkMRMLScalarVolumeNode | None,
    }
    parameters = wrapped(hints)(parameterNode)
    assert (parameters.count, parameters.mode, parameters.folder, parameters.maybe) == (2, "b", Path(), None)
    assert parameters.default("count").value == 2
    for value in (0, 6):
        with pytest.raises(ValueError, match="than"):
            parameters.count = value
    with pytest.raises(ValueError, match="none of"):
        parameters.mode = "c"


def test_parameters_that_slicer_could_not_keep_are_refused(scene):
    for hint in (list[str], slicer.vtkMRMLScene, str | None):
        with pytest.raises(TypeError, match="no stand-in"):
            wrapped({"value": hint})
    with pytest.raises(ValueError, match="reserved names: setValue"):
        wrapped({"setValue": bool})


def test_parameters_follow_their_node(scene, parameterNode, makeVolume):
    parameters = wrapped({"opacity": float, "volume": slicer.vtkMRMLScalarVolumeNode}, opacity=0.5)(parameterNode)
    parameters.volume = makeVolume(np.zeros((2, 3, 4)))
    heard = []
    tag = parameters.AddObserver("ModifiedEvent", lambda *_: heard.append(parameters.opacity))
    parameters.opacity = 0.25
    parameters.RemoveObserver(tag)
    assert heard == [0.25]
    parameterNode.SetParameter("opacity", "0.75")
    assert parameters.opacity == 0.75
    scene.RemoveNode(parameters.volume)
    assert parameters.volume is None
    scene.Clear(False)
    assert parameters.opacity == 0.5


def test_a_module_cannot_tell_what_slicer_does_not_ask_for(session, tmp_path):
    lines = [
        "import slicer",
        "from slicer.ScriptedLoadableModule import *",
        "class Example(ScriptedLoadableModule):",
        "    def __init__(self, parent):",
        "        super().__init__(parent)",
        "        parent.title = 'Example'",
        "        slicer.app.connect('startupCompleted()', print)",
        "class ExampleTest(ScriptedLoadableModuleTest):",
        "    def runTest(self):",
        "        raise RuntimeError('the test ran')",
    ]
    path = tmp_path / "Example.py"
    path.write_text("\n".join(lines))
    session.load(path)
    assert slicer.modules.example.title == "Example"
    with pytest.raises(RuntimeError, match="the test ran"):
        slicer.selfTests["Example"]()
    path.write_text("\n".join(lines).replace("parent.title", "parent.titel"))
    with pytest.raises(AttributeError, match="titel"):
        session.load(path)
    path.write_text("\n".join(lines).replace("startupCompleted", "started"))
    with pytest.raises(AttributeError, match="started"):
        session.load(path)
