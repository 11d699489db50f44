"""What works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata

from . import __version__
from .errors import LLMBoostError
from .inference.memory import memory_needed
from .library import installed, user_folder
from .machine import GB, total_memory

NEEDED = ("torch", "monai", "SimpleITK", "numpy", "scipy", "safetensors")
MEMORY_GB = 4
LARGE_SCAN = (512, 512, 600)
DISK_GB = 2


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``remedy`` is empty where all is well. ``fatal``: nothing can be segmented."""

    topic: str
    state: str
    remedy: str = ""
    fatal: bool = False


def examine() -> list[Check]:
    """Look at program, libraries, devices, memory, disk, models and the language model's weights."""
    findings = [
        Check("LLMBoost", __version__),
        Check("Python", f"{sys.version.split()[0]} on {platform.platform(terse=True)}, {os.cpu_count()} cores"),
        *(_library(name) for name in NEEDED),
    ]
    if not any(finding.fatal for finding in findings):
        # these import torch
        findings += [_gpu(), *_models(), _language_model()]
    return [*findings, _memory(), _disk()]


def _library(name: str) -> Check:
    try:
        return Check(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "not installed", f"pip install {name}", fatal=True)


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", f"none that torch can use; the CPU computes with {torch.get_num_threads()} threads")
    free, total = torch.cuda.mem_get_info()
    return Check("GPU", f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GB free")


def _models() -> list[Check]:
    from .model import load_model

    findings = []
    for name, path in installed().items():
        try:
            card = load_model(path).card
            need = memory_needed(card, LARGE_SCAN, card.preprocessing.spacing) / GB
            size = " x ".join(map(str, LARGE_SCAN))
            findings.append(
                Check(
                    f"model {name}",
                    f"{card.title} ({path.stat().st_size / 1e6:.1f} MB); a scan of {size} voxels takes {need:.1f} GB",
                )
            )
        except LLMBoostError as error:
            findings.append(Check(f"model {name}", str(error), f"llmboost models remove {name}, then import it again"))
    return findings or [Check("models", "none installed", "llmboost models import FILE")]


def _memory() -> Check:
    total = total_memory()
    if total is None:
        return Check("memory", "unknown")
    remedy = "" if total >= MEMORY_GB * GB else f"at least {MEMORY_GB} GB are advised; segment small crops"
    return Check("memory", f"{total / GB:.1f} GB", remedy)


def _disk() -> Check:
    folder = user_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Check("model folder", f"{folder} cannot be written", "set LLMBOOST_MODELS to a folder of your own")
    free = shutil.disk_usage(existing).free / 2**30
    remedy = "" if free >= DISK_GB else f"free at least {DISK_GB} GB"
    return Check("model folder", f"{folder}, {free:.1f} GB free on its disk", remedy)


def _language_model() -> Check:
    """Only training a new base needs it: a model file carries its own frozen block."""
    from .booster import smollm2

    if smollm2.find():
        return Check("booster smollm2", "installed (used for training only)")
    return Check("booster smollm2", "not installed; needed only by 'llmboost train --booster smollm2'")
