"""Train a network of nnU-Net's, as an imported model is, to adapt it: `.venv/bin/python scripts/train_nnunet_host.py
DATA OUTPUT`.

DATA is the folder Task04_Hippocampus, of whose train list it learns; OUTPUT the model file. nnU-Net's architecture,
patch, preprocessing and tiling of that data set (as nnU-Net 2.8.1 plans it), with less features at full resolution, so
that a step takes a core half a second; our own training loop, some minutes of one core. The recipe
`adapt_imported` adapts it, as `nnunet-hippocampus` in the library, and, with `--label 2`, as `nnunet-posterior`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from llmboost.card import SEGMENTATION, STORED, Card, Normalization, Origin, Preprocessing, Tiling
from llmboost.io.dataset import read_dataset
from llmboost.learn.plan import QUICK_TRAINING
from llmboost.learn.provenance import made_with
from llmboost.learn.segmentation import SegmentationTask, read_volume
from llmboost.learn.train import default_labels, run_folder
from llmboost.learn.trainer import CHECKPOINT, Trainer, TrainingConfig
from llmboost.model import save_model
from llmboost.networks import build, describe

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--minutes", type=float, default=4, help="of the CPU's time; with more, it goes on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", type=int, help="the value of the only label to learn")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.data)
    train, val = (
        [read_volume(dataset, case, PREPROCESSING) for case in cases]
        for cases in (dataset.split("train"), dataset.split("val")[:VAL])
    )
    labels = dict(dataset.labels)
    if arguments.label:
        labels = {1: labels[arguments.label]}
        train, val = (
            [replace(volume, label=(volume.label == arguments.label).to(volume.label)) for volume in volumes]
            for volumes in (train, val)
        )
    quick = cast("dict[str, Any]", QUICK_TRAINING)
    config = TrainingConfig(
        minutes=arguments.minutes, clock="cpu", batch=1, validations=1, last=True, seed=arguments.seed, **quick
    )
    torch.manual_seed(arguments.seed)
    stages = len(FEATURES)
    sizes = {"kernels": ((3, 3, 3),) * stages, "strides": ((1, 1, 1), *((2, 2, 2),) * (stages - 1))}
    counts = {"blocks": (2,) * stages, "decoder_convs": (2,) * (stages - 1)}
    own = {"channels": 1, "classes": 1 + len(labels), "features": FEATURES}
    network = build("plain-conv-unet", {**own, **sizes, **counts}, None)
    task = SegmentationTask(train, val, PREPROCESSING, config, labels)
    run = run_folder(arguments.output)
    trainer = Trainer(network, task, run, torch.device("cpu"), print_event)
    if (run / CHECKPOINT).exists():
        trainer.resume()
    outcome = trainer.run()
    network.load_state_dict(outcome.state)
    card = Card(
        name=arguments.output.stem,
        title="Hippocampus (a network of nnU-Net's)",
        description="Trained to be adapted, for measurements.",
        task=SEGMENTATION,
        labels=default_labels(labels),
        modality="MR",
        preprocessing=PREPROCESSING,
        network={},
        booster={},
        tiling=Tiling(places="even", average="logits", mirrorings="all"),
        origin=Origin(Path(__file__).name, dataset.name, {}),
        license=dataset.license,
        training={"steps": outcome.steps, "seconds": round(outcome.seconds), **made_with()},
        figures={} if outcome.score is None else {"val_dice": outcome.score.value},
    )
    card = save_model(network.eval(), replace(card, network=describe(network)[0]), arguments.output)
    print(f"{arguments.output}: {outcome.steps} steps, val Dice {card.figures.get('val_dice')}")


def print_event(event: dict[str, object]) -> None:
    if event["event"] != "step" or int(str(event["step"])) % 25 == 0:
        print({key: event[key] for key in ("event", "step", "loss", "dice", "labels") if key in event}, flush=True)


if __name__ == "__main__":
    main()
