"""What a report about a problem needs, and nothing about patients."""

from __future__ import annotations

import getpass
import platform
import re
from collections import Counter
from collections.abc import Container
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import numpy as np
import slicer
import vtk

from llmboost import __version__
from llmboost.library import installed, user_folder
from llmboost.messages.worker import Hello

from ..worker.troubles import WorkerError

_PACKAGES = "torch", "monai", "numpy", "safetensors", "SimpleITK"
_TOLD = "llmboost", "monai", "protocol", "python", "torch"
_KINDS = {
    "vtkMRMLVolumeNode": "image",
    "vtkMRMLSegmentationNode": "segmentation",
    "vtkMRMLDisplayableNode": "node",
    "vtkMRMLTableNode": "node",
    "vtkMRMLTextNode": "node",
}
_SHORT = 2
# a path may hold blanks: it ends where a message goes on after a colon, or with its quotes
_PATH = re.compile(r"""(?:(?<![\w.…)>])(?:file://|~?/|\.{1,2}/)(?=\S)|\b[A-Za-z]:[\\/]|\\\\)[^\n:'"<>|;]*""")
_QUOTED = re.compile(r"""((?<!\w)['"\u2018“«])([^'"\u2019”»\n]*)(['"\u2019”»](?!\w))""")
_EXTENSION = re.compile(r"(?:\.nii|\.seg|\.tar)?\.[A-Za-z0-9]{1,11}$")
_FILE = re.compile(
    r"(?<![>.\w])[^\n:'\"<>/;,(]*?[^\s:'\"<>/;,(]((?:\.nii|\.seg)?"
    r"\.(?:nii|gz|nrrd|mha|mhd|dcm|ima|png|jpe?g|tiff?|bmp|npz|npy|json|csv|toml|safetensors|zip|mrb|mrml|vtk|stl))\b",
    re.IGNORECASE,
)
_UID = re.compile(r"\b\d+(?:\.\d+){5,}\b")
# our own words before a colon, what exceptions are called, and what was put in the place of something else
_HARMLESS = re.compile(
    r"[Tt]he .*|Unexpected error|[\w.]*(?:Error|Exception|Warning|Interrupt)|case [0-9a-f]{8}|[^(]*\(.*|\s*File \".*"
    r"|\w+ '[^']*'|(?:image|segmentation|node|segment|item) \d+|<.*>[\w.]*|…/.*"
)
_PACKAGE = re.compile(r"(?:llmboost|LLMBoostLib|(?<=site-packages/)[\w.-]+|(?<=/)python3\.\d+)/[\w./-]+\.py$")
_PROGRAM = re.compile(r"(?:python|PythonSlicer|ssh|srun|env|bash|sh|docker|podman|apptainer|conda)[\d.-]*(?:\.exe)?")


def versions() -> dict[str, str]:
    """Of this extension, and of what it runs in."""
    found = {
        "LLMBoost": __version__,
        "Slicer": getattr(slicer.app, "applicationVersion", "?"),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed" if package != "numpy" else np.__version__
    return found


def report(hello: Hello | str, error: WorkerError | None, command: str, models: str) -> str:
    """The text for the clipboard: versions, settings and messages, without names and paths of the user's.

    Args:
        hello: how the worker introduced itself, or why it did not.
        error: the worker's last failure, if there was one.
        models: names of the installed ones, with commas between; only those that came with LLMBoost are told.
    """
    shipped = {name for name, path in installed().items() if path.parent != user_folder()}
    told = [name if name in shipped else "<own model>" for name in models.split(", ") if name]
    lines = [f"{name}: {version}" for name, version in versions().items()]
    lines += [f"worker's command: {_command(command)}", f"models: {', '.join(told)}"]
    if isinstance(hello, str):
        lines.append(f"worker: {withoutNames(hello, shipped)}")
    else:
        known = ", ".join(f"{key} {getattr(hello, key)}" for key in _TOLD)
        place = "this machine" if hello.host == platform.node() else "another machine"
        lines.append(f"worker: {withoutNames(known)}, on {place}")
    if error:
        lines.append(f"last error ({error.kind}): {withoutNames(error.message, shipped)}")
        lines += [withoutNames(line, shipped) for line in error.details.splitlines()]
    return "\n".join(filter(None, lines)) + "\n"


def withoutNames(text: str, harmless: Container[str] = ()) -> str:
    """A message without what may tell a patient or the user: names, paths, what stands in quotes.

    Rather too much is taken out than too little: a name may be a word, and a path may hold blanks.

    Args:
        harmless: names that may stay in quotes.
    """
    names = _names()
    for name, shown in names:
        if len(name) > _SHORT:
            text = text.replace(name, shown)
    text = _PATH.sub(lambda found: _place(found[0]), text)
    text = _QUOTED.sub(lambda found: found[0] if _mayStay(found[2], harmless) else f"{found[1]}<name>{found[3]}", text)
    # before a colon, our messages name what they are about: a node, perhaps one that is gone by now
    subject, colon, rest = text.partition(":")
    if colon and not _mayStay(subject, harmless):
        text = "<name>" + colon + rest
    text = _FILE.sub(lambda found: " <file>" + found[1], text).strip()
    text = _UID.sub("<uid>", text)
    for name, shown in names:
        if len(name) <= _SHORT:  # of such, only what stands alone: it occurs in other words
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", shown, text)
    return text


def _mayStay(text: str, harmless: Container[str]) -> bool:
    return text in harmless or bool(_HARMLESS.fullmatch(text))


def _names() -> list[tuple[str, str]]:
    """Names of the scene's nodes, segments and subjects, of the user and of the machine, and what is told instead."""
    found: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def add(name: str, kind: str) -> None:
        if name and name not in found:
            counts[kind] += 1
            found[name] = f"{kind} {counts[kind]}"

    for className, kind in _KINDS.items():
        for node in slicer.util.getNodesByClass(className):
            add(node.GetName(), kind)
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        for number in range(segmentation.GetNumberOfSegments()):
            add(segmentation.GetNthSegment(number).GetName(), "segment")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    if hierarchy is not None:
        items = vtk.vtkIdList()
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        for number in range(items.GetNumberOfIds()):
            add(hierarchy.GetItemName(items.GetId(number)), "item")
    with suppress(OSError, KeyError, ImportError):  # no such user, as in a container
        add(getpass.getuser(), "user")
    add(platform.node(), "machine")
    return sorted(found.items(), key=lambda pair: len(pair[0]), reverse=True)  # a name may hold another one


def _place(path: str) -> str:
    """What is told of a path: where it lies in a package, or else its extension."""
    path = path.rstrip()
    own = _PACKAGE.search(path.replace("\\", "/"))
    if own:
        return "…/" + own[0]
    home = str(Path.home())
    root = "~/" if path.startswith((home, "~")) and len(home) > 1 else ""
    extension = _EXTENSION.search(path)
    return f"<{root}path>{extension[0] if extension else ''}"


def _command(text: str) -> str:
    """The worker's command: programs and options, but not where they lie, and not who runs them where."""
    shown = []
    for word in text.split():
        word = re.sub(r"[^\s@]+@[^\s@]+", "<user>@<host>", word)
        name = re.split(r"[\\/]", word.strip("\"'"))[-1]
        isPath = "/" in word or "\\" in word
        shown.append(word if not isPath else f"…/{name}" if _PROGRAM.fullmatch(name) else _place(word))
    text = " ".join(shown)
    for name, instead in _names():
        if instead.startswith(("user ", "machine ")):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", instead, text)
    return text
