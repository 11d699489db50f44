"""Train a network of nnU-Net's, as an imported model is, to adapt it: `.venv/bin/python scripts/train_nnunet_host.py
DATA OUTPUT`.

DATA is the folder Task04_Hippocampus, of whose train list it learns, or one with SynthSeg's label maps at 1 mm, of
which it learns 24 structures of synthetic heads; OUTPUT the model file. nnU-Net's architecture, patch, preprocessing
and tiling of the first data set (as nnU-Net 2.8.1 plans it), with less features at full resolution, so that a step
takes a core half a second; our own training loop, some minutes of one core. The recipe `adapt_imported` adapts them,
as `nnunet-hippocampus` and `nnunet-brains` in the library.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from llmboost.card import SEGMENTATION, STORED, Card, Label, Normalization, Origin, Preprocessing, Tiling
from llmboost.io.dataset import read_dataset
from llmboost.learn.patches import Volume
from llmboost.learn.plan import QUICK_TRAINING
from llmboost.learn.provenance import made_with
from llmboost.learn.segmentation import SegmentationTask, read_volume
from llmboost.learn.train import default_labels, run_folder
from llmboost.learn.trainer import CHECKPOINT, Trainer, TrainingConfig
from llmboost.model import save_model
from llmboost.networks import build, describe
from synthesis import COARSE, head_labels
from train_brain import Design, samples

PREPROCESSING = Preprocessing(
    patch_size=(40, 56, 40),
    normalization=(Normalization("standard"),),
    mirror=(0, 1, 2),
    orientation=STORED,
    crop=True,
    resampling="cubic",
    normalize="before",
)
FEATURES = (8, 24, 64, 160)  # 1.6 million weights
VAL = 4  # cases
REACH = (45.0, 60.0, 45.0)  # mm, of patches of heads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--minutes", type=float, default=4, help="of the CPU's time; with more, it goes on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quick = cast("dict[str, Any]", QUICK_TRAINING)
    config = TrainingConfig(
        minutes=arguments.minutes, clock="cpu", batch=1, validations=1, last=True, seed=arguments.seed, **quick
    )
    if (arguments.data / "dataset.json").exists():
        subject, train, val, labels, terms = hippocampi(arguments.data)
    else:
        subject, train, val, labels, terms = brains(arguments.data, config)
    torch.manual_seed(arguments.seed)
    stages = len(FEATURES)
    sizes = {"kernels": ((3, 3, 3),) * stages, "strides": ((1, 1, 1), *((2, 2, 2),) * (stages - 1))}
    counts = {"blocks": (2,) * stages, "decoder_convs": (2,) * (stages - 1)}
    own = {"channels": 1, "classes": 1 + len(labels), "features": FEATURES}
    network = build("plain-conv-unet", {**own, **sizes, **counts}, None)
    names = {label.value: label.name for label in labels}
    sided = [label for label in labels if label.name.startswith("Left")]
    preprocessing = replace(PREPROCESSING, mirror=()) if sided else PREPROCESSING
    task = SegmentationTask(train, val, preprocessing, config, names)
    run = run_folder(arguments.output)
    trainer = Trainer(network, task, run, torch.device("cpu"), print_event)
    if (run / CHECKPOINT).exists():
        trainer.resume()
    outcome = trainer.run()
    network.load_state_dict(outcome.state)
    card = Card(
        name=arguments.output.stem,
        title=f"{subject} (a network of nnU-Net's)",
        description="Trained to be adapted, for measurements.",
        task=SEGMENTATION,
        labels=labels,
        modality="MR",
        preprocessing=preprocessing,
        network={},
        booster={},
        tiling=Tiling(places="even", average="logits", mirrorings="single" if sided else "all"),
        origin=Origin(Path(__file__).name, arguments.data.name, {}),
        license=terms,
        training={"steps": outcome.steps, "seconds": round(outcome.seconds), **made_with()},
        figures={} if outcome.score is None else {"val_dice": outcome.score.value},
    )
    card = save_model(network.eval(), replace(card, network=describe(network)[0]), arguments.output)
    print(f"{arguments.output}: {outcome.steps} steps, val Dice {card.figures.get('val_dice')}")


# what it is of, what it learns from, cases that tell how good it is, labels, license
Made = tuple[str, Any, list[Volume], tuple[Label, ...], str]


def hippocampi(folder: Path) -> Made:
    dataset = read_dataset(folder)
    train, val = (
        [read_volume(dataset, case, PREPROCESSING) for case in cases]
        for cases in (dataset.split("train"), dataset.split("val")[:VAL])
    )
    return "Hippocampus", train, val, default_labels(dataset.labels), dataset.license


def brains(folder: Path, config: TrainingConfig) -> Made:
    design = Design(COARSE, 1.0, PREPROCESSING.patch_size, REACH, network={}, training={}, validating=(VAL, 0), card={})
    train, val = samples(design, folder, None, config)
    return "Brain", train, val, head_labels(COARSE), "Apache-2.0"


def print_event(event: dict[str, object]) -> None:
    if event["event"] != "step" or int(str(event["step"])) % 25 == 0:
        print({key: event[key] for key in ("event", "step", "loss", "dice", "labels") if key in event}, flush=True)


if __name__ == "__main__":
    main()
