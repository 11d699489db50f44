"""nnU-Net v2's own program (Isensee et al. 2021) beside ours: its commands plan, preprocess and train, and what they
trained is imported as anybody's nnU-Net is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...card import Card
from ...errors import LLMBoostError
from ...foreign import nnunet
from ...io.dataset import Dataset
from ...jsonfile import read_json
from ...model import load_model, save_model
from ...networks import describe

# what nnU-Net's process is told by its environment, and the folder of which nnU-Net imports all
MINUTES, SEED, USED = "LLMBOOST_NNUNET_MINUTES", "LLMBOOST_NNUNET_SEED", "LLMBOOST_NNUNET_USED"
BASE = "LLMBOOST_NNUNET_BASE"
AXES = (2, 1, 0)  # of each of our axes, the one of nnU-Net's network
TRAINERS = Path(__file__).parent / "trainer"
NUMBER, CONFIGURATION, TRAINER = "501", "3d_fullres", "nnUNetTrainerMinutes"


def train_nnunet(dataset: Dataset, file: Path, minutes: float, seed: int, base: Path | None = None) -> dict[str, float]:
    """Train on the train split, and write a model file. nnU-Net watches the val split, without one what it learns
    from, but its last weights count, as by its default.

    Args:
        minutes: of the CPU's time for training, with augmentation and what nnU-Net watches while it trains; planning
            and preprocessing are free.
        base: the model file of a PlainConvUNet, to train on: its network, patch and weights, but for the head, as
            nnU-Net's `-pretrained_weights` takes them.

    Returns:
        how many steps and minutes the training took.

    Raises:
        LLMBoostError: nnU-Net is not installed, or one of its commands failed, with the last line of what it said.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
        folders = {f"nnUNet_{name}": Path(temporary, name) for name in ("raw", "preprocessed", "results")}
        for folder in folders.values():
            folder.mkdir()
        settings = {name: str(folder) for name, folder in folders.items()}
        settings |= {"nnUNet_extTrainer": str(TRAINERS), "nnUNet_n_proc_DA": "1", "nnUNet_compile": "false"}
        settings |= {MINUTES: str(minutes), SEED: str(seed), USED: str(Path(temporary, "used.json"))}
        name = f"Dataset{NUMBER}_Bench"
        _write_raw(dataset, folders["nnUNet_raw"] / name)
        _run("nnUNetv2_plan_and_preprocess", ["-d", NUMBER, "-c", CONFIGURATION, "-np", "1", "-npfp", "1"], settings)
        prepared = folders["nnUNet_preprocessed"] / name
        fold = [{"train": dataset.splits["train"], "val": dataset.splits["val"] or dataset.splits["train"]}]
        (prepared / "splits_final.json").write_text(json.dumps(fold), encoding="utf-8")
        if base is not None:
            settings[BASE] = str(base)
            _plan_as(prepared / "nnUNetPlans.json", load_model(base).card)
        settings["nnUNet_n_proc_DA"] = "0"  # augmentation in the process whose time counts
        _run("nnUNetv2_train", [NUMBER, CONFIGURATION, "0", "-tr", TRAINER, "-device", "cpu"], settings)
        _import(folders["nnUNet_results"], file)
        used: dict[str, float] = json.loads(Path(settings[USED]).read_text(encoding="utf-8"))
        return used


def _write_raw(dataset: Dataset, folder: Path) -> None:
    """The cases to train on and to watch, in nnU-Net's form, by links."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    cases = [dataset.cases[id] for id in (*dataset.splits["train"], *dataset.splits["val"])]
    for case in cases:
        assert case.label is not None
        for channel, image in enumerate(case.images):
            (folder / "imagesTr" / f"{case.id}_{channel:04d}.nii.gz").symlink_to(image.resolve())
        (folder / "labelsTr" / f"{case.id}.nii.gz").symlink_to(case.label.resolve())
    description: dict[str, Any] = {
        "channel_names": dict(enumerate(dataset.modalities)),
        "labels": {"background": 0, **{name: value for value, name in dataset.labels.items()}},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def _plan_as(plans: Path, base: Card) -> None:
    """Let plans name the network and the patch of a base."""
    content = read_json(plans)
    configuration, network = content["configurations"][CONFIGURATION], base.network
    configuration["patch_size"] = [base.preprocessing.patch_size[axis] for axis in AXES]
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": len(network["features"]),
        "features_per_stage": network["features"],
        "kernel_sizes": [[size[axis] for axis in AXES] for size in network["kernels"]],
        "strides": [[size[axis] for axis in AXES] for size in network["strides"]],
        "n_conv_per_stage": network["blocks"],
        "n_conv_per_stage_decoder": network["decoder_convs"],
    }
    plans.write_text(json.dumps(content), encoding="utf-8")


def _run(command: str, arguments: list[str], settings: dict[str, str]) -> None:
    found = shutil.which(command, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise LLMBoostError(f"{command} is not installed; install nnU-Net: pip install nnunetv2")
    done = subprocess.run(
        [found, *arguments],
        env={**os.environ, **settings, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise LLMBoostError(f"{command}: failed with status {done.returncode}; {done.stdout.strip().splitlines()[-1]}")


def _import(results: Path, file: Path) -> None:
    (found,) = nnunet.find_results(results)
    translation = nnunet.translate(found, None, "", results)
    entry, booster = describe(translation.network)
    card = replace(translation.card, name=file.stem, network=entry, booster=booster, license="that of the data")
    save_model(translation.network, card, file, torch.float32)
