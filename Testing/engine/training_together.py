"""A short training, for tests to start by torchrun, or to call: ``training_together.py DATA FOLDER`` leaves in FOLDER,
of each process, its weights and the losses that it was told."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from Testing.engine.training_samples import losses_of

from llmboost.card import Preprocessing
from llmboost.io.dataset import read_dataset
from llmboost.learn.distributed import joined, rank
from llmboost.learn.segmentation import SegmentationTask, read_volume
from llmboost.learn.trainer import Trainer, TrainingConfig
from llmboost.networks import build

PREPROCESSING = Preprocessing(patch_size=(16, 16, 16))
CONFIG = TrainingConfig(steps=6, batch=4, validations=2, optimizer="muon", balance=0.5, ema=0.9, precision="float32")


def train_together(data: Path, folder: Path) -> None:
    """Train on the split "train", and validate on "val"."""
    dataset = read_dataset(data)
    with joined("cpu") as device:
        torch.manual_seed(rank())  # the first one's weights count
        network = build("hybrid-vit", {"stem": (4, 8, 8), "width": 16, "depth": 1, "heads": 2, "dropout": 0.0}, None)
        network.register_buffer("frozen", torch.tensor([rank()]), persistent=False)
        train, val = (
            [read_volume(dataset, case, PREPROCESSING) for case in dataset.split(name)] for name in ("train", "val")
        )
        task = SegmentationTask(train, val, PREPROCESSING, CONFIG, dataset.labels)
        trainer = Trainer(network, task, folder / "run", device)
        told = {"rank": rank(), "losses": losses_of(trainer), "frozen": int(network.frozen), "best": trainer.best_score}
        folder.mkdir(exist_ok=True)
        safetensors.torch.save_file(trainer.best, folder / f"{rank()}.safetensors")
        (folder / f"{rank()}.json").write_text(json.dumps(told, default=asdict))


if __name__ == "__main__":
    train_together(*map(Path, sys.argv[1:]))
