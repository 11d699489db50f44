"""What a report about a problem needs, and nothing about patients."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from llmboost import __version__

from .client import WorkerError

_PACKAGES = "torch", "monai", "numpy", "safetensors", "SimpleITK"
_SHORTEST = 3  # a name of fewer letters occurs in other words


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


def report(hello: Mapping[str, Any] | str, error: WorkerError | None, command: str, models: str) -> str:
    """The text for the clipboard: names of nodes and of the user's folder are taken out.

    Args:
        hello: how the worker introduced itself, or why it did not.
        error: the worker's last failure, if there was one.
    """
    lines = [f"{name}: {version}" for name, version in versions().items()]
    lines += [f"worker's command: {command}", f"models: {models}"]
    told = hello if isinstance(hello, str) else ", ".join(f"{key} {value}" for key, value in sorted(hello.items()))
    lines.append(f"worker: {told}")
    if error:
        lines += [f"last error ({error.kind}): {error.message}", error.details]
    return _withoutNames("\n".join(filter(None, lines))) + "\n"


def _withoutNames(text: str) -> str:
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode")}
    for name in sorted(filter(None, names), key=len, reverse=True):  # a name may hold another one
        if len(name) >= _SHORTEST:
            text = text.replace(name, "<node>")
    return text.replace(str(Path.home()), "~")
