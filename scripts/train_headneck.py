"""Train the shipped model `headneck` again: `.venv/bin/python scripts/train_headneck.py DATASET OUTPUT`.

DATASET is a folder in Decathlon form with OpenKBP's CTs and organs (see the card's citation): what a case lacks was not
drawn there. They show the body alone, on air; CTs as they come have a table, a mask that holds the head, and air around
the body, so half of the training cases get these, made up. Half are mirror images, with sides exchanged. Cases whose
image is empty (22 of 130) are left out. `--resume` continues a run that was stopped. At the end the
test list is read once, and its figures go into the model's card.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from calibrate_subject import subject_of
from events import print_event
from llmboost.booster import BoosterConfig
from llmboost.card import Label, Normalization, Preprocessing, Subject, write_card
from llmboost.evaluation import evaluate
from llmboost.inference.device import choose_device
from llmboost.inference.mirror import in_a_mirror
from llmboost.io.dataset import Dataset, read_dataset
from llmboost.io.datasetcheck import is_constant
from llmboost.io.image import read_image
from llmboost.learn.curve import draw_curve
from llmboost.learn.patches import Volume
from llmboost.learn.segmentation import SegmentationTask, read_volume
from llmboost.learn.train import base_card, default_labels, run_folder
from llmboost.learn.trainer import Trainer, TrainingConfig
from llmboost.model import load_model, save_model
from llmboost.networks import build

# fat to bone in HU, and what is usual in the organs of the training cases
WINDOW = Normalization("window", -300.0, 700.0, 158.5, 267.5)
PREPROCESSING = Preprocessing(spacing=(3.9, 3.9, 2.5), patch_size=(32, 32, 40), normalization=(WINDOW,))
AIR = (WINDOW.low - WINDOW.mean) / WINDOW.std
NETWORK = {"stem": (16, 32, 48), "width": 80, "depth": 3, "heads": 4, "mlp_ratio": 2, "dropout": 0.0}
TRAINING: dict[str, Any] = {
    "batch": 1,
    "optimizer": "muon",
    "ema": 0.995,
    "clip": 5.0,
    "foreground": 0.7,
    "balance": 0.5,
    "validations": 4,
    "last": True,
}
NAMES = {
    "Brainstem": "Brain stem",
    "SpinalCord": "Spinal cord",
    "RightParotid": "Right parotid gland",
    "LeftParotid": "Left parotid gland",
    "Mandible": "Mandible",
    "Larynx": "Larynx",
    "Esophagus": "Esophagus",
}
ENDLESS = ("Spinal cord", "Esophagus")  # cut off where the image ends
GRID = 1.5  # mm, how far the middle of an organ may be off on the network's grid
LIMITS: dict[str, Any] = {"fewest": 3, "misfit": 2.0, "scale": (0.7, 1.4)}
CARD = {
    "title": "Organs at risk of the head and neck, in CT",
    "description": (
        "Brain stem, spinal cord, parotid glands, mandible, larynx and esophagus in CT of the head and neck, at 4 mm."
        " Trained on labels of radiotherapy planning: coarse, and cut off at the planned slices. Not for clinical use."
    ),
    "modality": "CT",
    "license": (
        "MIT (OpenKBP's repository; its scans come from clinical and public collections); frozen block: Apache-2.0"
        " (SmolLM2-135M-Instruct, 4-bit)"
    ),
    "citation": "Babier et al. 2021, Medical Physics 48, 5549",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--booster", choices=("smollm2", "none"), default="smollm2")
    parser.add_argument("--minutes", type=float, required=True, help="of one core's work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    config = TrainingConfig(minutes=arguments.minutes, clock="cpu", seed=arguments.seed, **TRAINING)
    torch.manual_seed(arguments.seed)
    data = usable(read_dataset(arguments.dataset))
    train, val = ([read_volume(data, case, PREPROCESSING) for case in data.split(split)] for split in ("train", "val"))
    booster = BoosterConfig("smollm2", layers=(20,)) if arguments.booster == "smollm2" else None
    network = build("hybrid-vit", {"classes": len(data.labels) + 1, **NETWORK}, booster)
    guessed = default_labels({value: NAMES[name] for value, name in data.labels.items()})
    labels = tuple(dataclasses.replace(label, guessed=False) for label in guessed)  # their codes were looked up
    task = SegmentationTask(varied(train, labels), val, PREPROCESSING, config, data.labels)
    trainer = Trainer(network, task, run_folder(arguments.output), choose_device("auto"), print_event)
    if arguments.resume:
        trainer.resume()
    outcome = trainer.run()
    assert outcome.score is not None
    network.load_state_dict({**network.state_dict(), **outcome.state})
    own = {
        "task": "segmentation",
        "labels": labels,
        "one_piece": tuple(data.labels),
        "training": {},
        "figures": {"val_dice": outcome.score.value, "val_dice_per_label": outcome.score.known_labels},
        "subject": neck(train, labels),
    }
    save_model(network, base_card(arguments.output, data, task, network, outcome, own, CARD), arguments.output)
    draw_curve(run_folder(arguments.output), data.labels)
    add_figures(arguments.output, data)


def add_figures(path: Path, data: Dataset) -> None:
    """Put figures on val, and means and intervals on test, into the card of the model file at ``path``."""
    model = load_model(path)
    result = {split: evaluate(model, data, split) for split in ("val", "test")}
    chosen = ("mean_dice", "mean_dice_ci95", "mean_hd95_mm", "mean_hd95_mm_ci95")
    figures = {f"test_{name}": result["test"][name] for name in chosen}
    figures["val_dice"] = result["val"]["mean_dice"]
    for split, summary in result.items():
        figures[f"{split}_dice_per_label"] = {label: entry["mean"] for label, entry in summary["dice"].items()}
    write_card(path, dataclasses.replace(model.card, figures=figures))
    print(f"{path}: Dice {figures['val_dice']:.4f} on val, {figures['test_mean_dice']:.4f} on test")


def usable(data: Dataset) -> Dataset:
    """The data set without cases whose image is empty; a label that a case lacks was not drawn there."""
    shown = {id for id, case in data.cases.items() if not is_constant(read_image(case.images[0]))}
    splits = {split: [id for id in ids if id in shown] for split, ids in data.splits.items()}
    return dataclasses.replace(data, splits=splits, partly_labeled=dict.fromkeys(data.cases, frozenset(data.labels)))


def neck(volumes: list[Volume], labels: tuple[Label, ...]) -> Subject:
    """Where the organs lie to each other that a case shows whole, in the cases with all of them."""
    classes = [n for n, label in enumerate(labels, 1) if label.name not in ENDLESS]
    shown = [volume for volume in volumes if volume.drawn is None or bool(volume.drawn[classes].all())]
    examples = [
        np.array([np.argwhere(volume.label[0].numpy() == n).mean(axis=0) for n in classes]) * PREPROCESSING.spacing
        for volume in shown
    ]
    return subject_of("head and neck", np.array(examples), [labels[n - 1].name for n in classes], GRID, LIMITS)


def varied(volumes: list[Volume], labels: tuple[Label, ...]) -> list[Volume]:
    """Each case four times: as it is and as a scanner shows it, both once more as of a mirrored patient."""
    random = np.random.default_rng(0)
    exchanged = in_a_mirror(labels)
    return [
        variant
        for volume in volumes
        for side in (volume, mirrored(volume, exchanged))
        for variant in (side, scanned(side, random))
    ]


def mirrored(volume: Volume, exchanged: list[int]) -> Volume:
    label = volume.label.flip(1)
    table = torch.tensor(exchanged, dtype=label.dtype)
    label = torch.where(label > 0, table[label.clamp(min=0).long()], label)
    drawn = None if volume.drawn is None else volume.drawn[torch.tensor(exchanged)]
    return Volume(volume.id, volume.image.flip(1), label, drawn)


def scanned(volume: Volume, random: np.random.Generator) -> Volume:
    """With air around the body, a table under it, and often a mask over the face."""
    sides, front, back = random.integers(4, 25), random.integers(4, 20), random.integers(8, 25)
    around = [0, 0, int(back), int(front), int(sides), int(sides)]  # S, A, R, each at its lower and upper end
    image = F.pad(volume.image, around, value=AIR)
    label = F.pad(volume.label, around)
    array = image[0].numpy()
    body = ndimage.binary_opening(array > AIR + 0.05, iterations=2)
    body = ndimage.binary_fill_holes(body)
    assert body is not None
    if random.random() < 0.6:  # a thermoplastic mask: a thin shell, some mm off the skin in places
        gap = int(random.integers(1, 3))
        shell = ndimage.binary_dilation(body, iterations=gap + 1) & ~ndimage.binary_dilation(body, iterations=gap)
        shell[:, : int(random.uniform(0.2, 0.6) * shell.shape[1])] = False
        array[shell & (array < AIR + 0.3)] = AIR + random.uniform(0.1, 1.2)
    if random.random() < 0.85:
        array[table(body, random) & ~body] = AIR + random.uniform(0.2, 2.0)
    if random.random() < 0.3:  # a second one: the table has two skins
        array[table(body, random) & ~body] = AIR + random.uniform(0.1, 1.0)
    return Volume(volume.id, torch.from_numpy(array[None]), label, volume.drawn)


def table(body: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A slab behind the body, flat or hollow, of one to three voxels."""
    lowest = int(np.flatnonzero(body.any(axis=(0, 2))).min(initial=body.shape[1]))
    across = (np.arange(body.shape[0]) - body.shape[0] / 2) / (body.shape[0] / 2)
    height = lowest - random.uniform(1, 6) + random.uniform(-2, 8) * across**2
    behind = np.arange(body.shape[1])[None] - height[:, None]
    slab = (np.abs(behind) < random.uniform(0.5, 1.6)) & (np.abs(across) < random.uniform(0.6, 1.0))[:, None]
    return np.broadcast_to(slab[..., None], body.shape)


if __name__ == "__main__":
    main()
