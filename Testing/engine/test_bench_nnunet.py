"""nnU-Net's own program as an arm of an experiment: by stand-ins of its commands, and, slowly, by itself."""

import json
import sys

import pytest
import torch

from llmboost.bench.kinds import Context, adapt, segmentation
from llmboost.errors import LLMBoostError
from llmboost.model import load_model

from .nnunet_samples import PATCH, nnunet_network, write_results

# what nnU-Net's commands are given, and leave behind
STAND_IN = """#!{python}
import json, os, pathlib, shutil, sys
pathlib.Path({said!r}).open("a").write(json.dumps([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
data = pathlib.Path(os.environ["nnUNet_preprocessed"], "Dataset501_Bench")
if "nnUNetv2_train" not in sys.argv[0]:
    shutil.copytree(pathlib.Path(os.environ["nnUNet_raw"], data.name), data)
    (plans,) = pathlib.Path({results!r}).rglob("plans.json")
    content = json.loads(plans.read_text())
    content["configurations"]["3d_fullres"]["patch_size"] = [64, 64, 64]
    (data / "nnUNetPlans.json").write_text(json.dumps(content))
else:
    assert {status} == 0, "out of memory"
    shutil.copy(data / "nnUNetPlans.json", {said!r} + ".plans")
    pathlib.Path({said!r} + ".base").write_text(os.environ.get("LLMBOOST_NNUNET_BASE", ""))
    shutil.copy(data / "dataset.json", {said!r} + ".dataset")
    shutil.copy(data / "splits_final.json", {said!r} + ".splits")
    shutil.copytree({results!r}, pathlib.Path(os.environ["nnUNet_results"]), dirs_exist_ok=True)
    minutes = float(os.environ["LLMBOOST_NNUNET_MINUTES"])
    pathlib.Path(os.environ["LLMBOOST_NNUNET_USED"]).write_text(json.dumps(dict(steps=7, minutes=minutes)))
"""


def run(folder, **settings):
    folder.mkdir()
    settings = {"data": "phantom", "network": "nnunet", "minutes": 0.25, "split": "test", **settings}
    row = {"id": "nnunet/seed=0", "seed": 0, "settings": settings}
    return segmentation.run(row, Context(folder, folder, torch.device("cpu")))


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """``commands(status)`` puts stand-ins beside the Python that runs; what they were called with is in the file
    ``said``."""

    def make(status=0):
        results = write_results(tmp_path / "trained", {"0": nnunet_network()}).parent.parent
        said, folder = tmp_path / "said", tmp_path / "bin"
        folder.mkdir()
        for name in ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train"):
            text = STAND_IN.format(python=sys.executable, said=str(said), results=str(results), status=status)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(folder / "python"))
        return said

    return make


@pytest.mark.skipif(sys.platform == "win32", reason="scripts do not run by themselves on Windows")
def test_its_commands_get_the_cases_and_what_they_trained_is_measured(commands, tmp_path):
    said = commands()
    figures = run(tmp_path / "row")
    assert [json.loads(line)[0] for line in said.read_text().splitlines()] == [
        "nnUNetv2_plan_and_preprocess",
        "nnUNetv2_train",
    ]
    (fold,) = json.loads((tmp_path / "said.splits").read_text())
    assert fold == {"train": [f"phantom_{n:02d}" for n in range(6)], "val": ["phantom_06", "phantom_07"]}
    dataset = json.loads((tmp_path / "said.dataset").read_text())
    assert sorted(dataset["labels"].values()) == [0, 1, 2]
    assert dataset["numTraining"] == 8
    assert [case["id"] for case in figures["cases"]] == [f"phantom_{n:02d}" for n in (8, 9, 10, 11)]
    assert (figures["numbers"]["steps"], figures["numbers"]["training (min)"]) == (7, 0.25)
    assert 0 <= figures["val"] < 0.5
    assert [path.name for path in (tmp_path / "row").iterdir()] == ["model.safetensors"]


def fine_tune(folder, base, **settings):
    folder.mkdir()
    settings = {"data": "phantom", "base": str(base), "how": "nnunet", "cases": 2, **settings}
    row = {"id": "nnunet/seed=0", "seed": 0, "settings": settings}
    return adapt.run(row, Context(folder, folder, torch.device("cpu")))


@pytest.mark.skipif(sys.platform == "win32", reason="scripts do not run by themselves on Windows")
def test_it_fine_tunes_a_base(commands, tmp_path):
    commands()
    run(tmp_path / "row")
    base = tmp_path / "row" / "model.safetensors"  # as any model of nnU-Net's that was imported
    figures = fine_tune(tmp_path / "tuned", base, adapt={"minutes": 0.25})
    assert (tmp_path / "said.base").read_text() == str(base)
    configuration = json.loads((tmp_path / "said.plans").read_text())["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == list(PATCH)
    assert configuration["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8, 8]
    (fold,) = json.loads((tmp_path / "said.splits").read_text())
    assert len(fold["train"]) == 2
    assert fold["val"] == fold["train"]
    assert [case["id"] for case in figures["cases"]] == [f"phantom_{n:02d}" for n in (8, 9, 10, 11)]
    assert figures["numbers"] == {"steps": 7, "adapting (min)": 0.25}
    assert [path.name for path in (tmp_path / "tuned").iterdir()] == ["adapter.safetensors"]


def test_it_fine_tunes_for_minutes(tmp_path):
    with pytest.raises(LLMBoostError, match="nnU-Net fine-tunes for minutes; give them"):
        fine_tune(tmp_path / "tuned", "hippocampus", adapt={"steps": 5})


@pytest.mark.skipif(sys.platform == "win32", reason="scripts do not run by themselves on Windows")
def test_a_command_that_fails_is_told(commands, tmp_path):
    commands(status=1)
    with pytest.raises(LLMBoostError, match="nnUNetv2_train: failed with status 1; AssertionError: out of memory"):
        run(tmp_path / "row")


def test_it_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LLMBoostError, match=r"nnUNetv2_plan_and_preprocess is not installed; .* pip install nnunetv2"):
        run(tmp_path / "row")


def test_it_trains_for_minutes(tmp_path):
    with pytest.raises(LLMBoostError, match="network 'nnunet': is trained for minutes; give them"):
        run(tmp_path / "row", minutes=None, steps=5)


@pytest.mark.slow
def test_the_program_itself(tmp_path):
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed")
    figures = run(tmp_path / "row", minutes=1)
    assert figures["numbers"]["steps"] >= 5
    assert figures["val"] > 0.1
    base = tmp_path / "row" / "model.safetensors"
    fine_tune(tmp_path / "tuned", base, adapt={"minutes": 0.1})
    before, after = (
        load_model(file).network.encoder.stages[0].convs[0].conv.weight.flatten()
        for file in (base, tmp_path / "tuned" / "adapter.safetensors")
    )
    assert not torch.equal(before, after)
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.9  # it began with the base's weights
