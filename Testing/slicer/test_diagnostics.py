"""What a report about a problem tells, and that it tells nothing about patients and the user."""

from __future__ import annotations

import getpass
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer

from llmboost.messages.worker import Hello
from LLMBoostLib.install import diagnostics
from LLMBoostLib.worker.client import WorkerError

HELLO = Hello(1, 4711, "meyers-laptop", "0.1", "3.12.1")
HOME = str(Path.home())


def text(
    message: str, details: str = "", hello: Hello | str = HELLO, command: str = "python -m llmboost.worker"
) -> str:
    return diagnostics.report(
        hello, WorkerError("bad_input", message, "", details), command, "hippocampus, meyer-liver"
    )


@pytest.mark.parametrize(
    "message",
    [
        "/data/Meyer Anna/scan 1970.nii.gz: truncated; copy it again",
        f"{HOME}/Meyer/scan.nii: an empty file; copy it again",
        r"C:\Users\Meyer\Anna 1970\scan.nrrd: no such file",
        r"\\server\Meyer\scan.dcm: no such file",
        "Meyer Anna 1970.seg.nrrd: truncated; copy it again",
        "cannot open ../Meyer/Anna.dcm",
        "the volume 'Meyer Anna' holds no voxels",
        'the worker ended unexpectedly (signal 9: cannot read "Meyer.nii")',
        "Meyer^Anna: holds NaN or infinite voxels; replace them by numbers",
        "the file Meyer_Anna_1970.nii.gz cannot be read",
        "labels “Meyer” and «Anna» differ",
        "KeyError: 'Meyer'",
    ],
)
def test_names_and_paths_of_a_message_are_taken_out(session, message):
    for told in (text(message), text("x", f"first\n{message}\nlast"), text("x", hello=message)):
        for secret in ("Meyer", "Anna", "1970", "meyer", "server", HOME + "/"):
            assert secret not in told
        assert "LLMBoost: " in told


def test_what_helps_stays(session):
    details = (
        'Traceback (most recent call last):\n  File "/opt/x/llmboost/service.py", line 130, in _answer\nValueError: no'
    )
    told = text(
        "the worker ended unexpectedly (signal 9: the GPU fell off the bus)", details, command="/opt/my/python -m x"
    )
    for part in (
        "the worker ended unexpectedly (signal 9: the GPU fell off the bus)",
        'File "…/llmboost/service.py", line 130, in _answer',
        "ValueError: no",
        "worker's command: …/python -m x",
        "llmboost 0.1, monai None, protocol 1, python 3.12.1, torch None, on another machine",
        "models: hippocampus, <own model>",
    ):
        assert part in told
    assert "/data/x.nii.gz" not in (told := text("/data/x.nii.gz: truncated; copy it again"))
    assert ".nii.gz: truncated; copy it again" in told
    assert "model 'hippocampus': no such" in text("model 'hippocampus': no such thing")


def test_nodes_segments_and_subjects_are_numbered_however_short(session, makeVolume):
    for name in ("Q", "Jo", "Doe^Jane 1970", "a:b/c"):
        makeVolume(np.zeros((2, 2, 2), np.int16), name=name)
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Rays")
    segmentationNode.GetSegmentation().AddEmptySegment("s", "Roe")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Zed")
    told = text("Q: holds NaN", "volume Jo, then Doe^Jane 1970 and a:b/c\nRays has Roe of Zed\nJoint Quality")
    last = told[told.index("last error") :]
    for name in ("Doe", "1970", "a:b", "b/c", "Rays", "Roe", "Zed"):
        assert name not in last
    words = last.replace(",", " ").replace(":", " ").split()
    assert not {"Q", "Jo"} & set(words)
    assert {"Joint", "Quality"} <= set(words), "other words stay"
    assert "volume image 2, then image 3 and image 4" in last
    assert "segmentation 1" in last


def test_user_and_machine_are_not_told(session, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "meyer")
    monkeypatch.setattr(platform, "node", lambda: "ward7pc")
    told = text(
        "no disk on ward7pc for meyer", hello=replace(HELLO, host="ward7pc"), command="ssh -T meyer@ward7pc python"
    )
    assert "meyer" not in told
    assert "ward7pc" not in told
    assert "on this machine" in told
    assert "ssh -T <user>@<host> python" in told
    assert "4711" not in told
