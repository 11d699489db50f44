"""nnU-Net's own trainer, but a clock ends it: what nnU-Net's command imports, in its own process."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from llmboost.bench.nnunet import AXES, BASE, MINUTES, SEED, USED
from llmboost.foreign.nnunet.weights import network_weights
from llmboost.model import load_model

SHARE = 5  # of nnU-Net's training steps to its validation steps: 250 to 50 an epoch
EXPONENT = 0.9  # of its learning rate's way to zero


class nnUNetTrainerMinutes(nnUNetTrainer):
    """An epoch has a few steps instead of 250, and the learning rate goes by the share of the time that is used instead
    of that of the epochs; all else is nnU-Net's."""

    def initialize(self) -> None:
        super().initialize()
        if BASE in os.environ:
            base = load_model(Path(os.environ[BASE])).network.state_dict()
            for name, weight in network_weights(self.network.state_dict(), AXES).items():
                if not name.startswith("head."):
                    weight.copy_(base[name])

    def run_training(self) -> None:
        torch.set_num_threads(1)
        seed = int(os.environ[SEED])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.on_train_start()
        minutes, started = float(os.environ[MINUTES]), time.process_time()
        used = 0.0
        while used < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - used) ** EXPONENT
            self.epoch()
            used = (time.process_time() - started) / 60 / minutes
        figures = {"steps": self.current_epoch * SHARE, "minutes": round(used * minutes, 2)}
        Path(os.environ[USED]).write_text(json.dumps(figures), encoding="utf-8")
        self.on_train_end()

    def epoch(self) -> None:
        self.on_epoch_start()
        self.on_train_epoch_start()
        self.on_train_epoch_end([self.train_step(next(self.dataloader_train)) for _ in range(SHARE)])
        with torch.no_grad():
            self.on_validation_epoch_start()
            self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val))])
        self.on_epoch_end()

    def on_train_epoch_start(self) -> None:
        """As nnU-Net's, without its scheduler, which counts epochs."""
        self.network.train()
        self.logger.log("lrs", self.optimizer.param_groups[0]["lr"], self.current_epoch)

    def on_epoch_end(self) -> None:
        """Without its plot and checkpoints of each epoch: they are a large share of so short an epoch."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        self.current_epoch += 1

    def perform_actual_validation(self, *_: Any, **__: Any) -> None:
        """Nothing: cases are measured by the experiment."""
