"""Train the shipped model `brain` again: `.venv/bin/python scripts/train_brain.py MAPS OUTPUT [--booster none]`.

MAPS is a folder with SynthSeg's label maps (training_seg_01.nii.gz, ...; Apache-2.0). No image is read: the network
sees synthetic heads of random contrast, pose and resolution, made as it learns. The last four maps are for validation
alone. `--resume` continues a run that was stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from events import print_event
from llmboost.booster import BoosterConfig
from llmboost.card import SEGMENTATION, Card, Preprocessing
from llmboost.inference.device import choose_device
from llmboost.learn.augment import IMAGE, LABEL
from llmboost.learn.curve import draw_curve
from llmboost.learn.patches import Volume
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.train import made_with, run_folder
from llmboost.learn.trainer import Outcome, Trainer, TrainingConfig
from llmboost.model import save_model
from llmboost.networks import build, describe
from synthesis import HeadMap, SyntheticHeads, head_labels, read_head_map

SPACING = 4.0  # mm
WINDOW = (48, 56, 48)  # the whole brain at once, so that the network knows left from right
NETWORK = "hybrid-vit"
OPTIONS = {
    "unshuffle": 2,
    "stem": (32, 48),
    "strides": ((2, 2, 2), (2, 2, 2)),
    "width": 80,
    "depth": 3,
    "heads": 4,
    "mlp_ratio": 2,
    "dropout": 0.0,
}
STEPS = 6500
VAL_MAPS, VAL_HEADS, VAL_SEED = 4, 24, 2**20

CARD: dict[str, Any] = {
    "title": "Brain structures, coarse, in MR of any contrast",
    "description": (
        "13 structures of the brain, 11 of them left and right, at 4 mm, in a head of any MR contrast and resolution,"
        " also without skull. Trained on synthetic images alone. It finds where structures are, for other models that"
        " look closer; borders of thin ones (cortex) are coarse. Not for clinical use."
    ),
    "modality": "MR",
    "license": "Apache-2.0 (SynthSeg's label maps); frozen block: Apache-2.0 (SmolLM2-135M-Instruct, 4-bit)",
    "citation": "Billot et al. 2023, Medical Image Analysis 86, 102789",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--booster", choices=("smollm2", "none"), default="smollm2")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()

    maps = [read_head_map(path) for path in sorted(arguments.maps.glob("*.nii.gz"))]
    config = TrainingConfig(steps=arguments.steps, batch=1, rate=2e-3, validations=13, balance=0.5, seed=arguments.seed)
    steps = Preprocessing(spacing=(SPACING,) * 3, patch_size=WINDOW)
    torch.manual_seed(config.seed)
    booster = BoosterConfig("smollm2", layers=(20,)) if arguments.booster == "smollm2" else None
    network = build(NETWORK, {"classes": len(head_labels()) + 1, **OPTIONS}, booster)
    heads = SyntheticHeads(maps[:-VAL_MAPS], WINDOW, SPACING, arguments.steps, config.seed)
    task = SegmentationTask(heads, validation_heads(maps[-VAL_MAPS:]), steps, config)
    trainer = Trainer(network, task, run_folder(arguments.output), choose_device("auto"), print_event)
    if arguments.resume:
        trainer.resume()
    outcome = trainer.run()
    assert outcome.score is not None
    network.load_state_dict({**network.state_dict(), **outcome.state})
    save_model(network, _card(arguments.output, steps, network, outcome, config, len(maps)), arguments.output)
    draw_curve(run_folder(arguments.output))
    print(f"{arguments.output}: val Dice {outcome.score.value:.4f}")


def validation_heads(maps: list[HeadMap]) -> list[Volume]:
    """Synthetic heads of maps that no training saw, each with a brain."""
    heads = SyntheticHeads(maps, WINDOW, SPACING, VAL_HEADS, VAL_SEED, negative=0)
    samples = (heads[n] for n in range(VAL_HEADS))
    return [Volume(f"head {n}", sample[IMAGE], sample[LABEL].short()) for n, sample in enumerate(samples)]


def _card(
    output: Path,
    preprocessing: Preprocessing,
    network: torch.nn.Module,
    outcome: Outcome,
    config: TrainingConfig,
    maps: int,
) -> Card:
    network_entry, booster_entry = describe(network)
    assert outcome.score is not None
    training = {
        "data": f"synthetic heads from {maps - VAL_MAPS} of SynthSeg's label maps, {VAL_MAPS} others for validation",
        "data_license": "Apache-2.0",
        "steps": outcome.steps,
        "minutes": round(outcome.seconds / 60, 1),
        "config": asdict(config),
        **made_with(),
    }
    return Card(
        name=output.stem,
        task=SEGMENTATION,
        labels=head_labels(),
        preprocessing=preprocessing,
        network=network_entry,
        booster=booster_entry,
        training=training,
        figures={"val_dice": outcome.score.value, "val_dice_per_label": outcome.score.known_labels},
        **CARD,
    )


if __name__ == "__main__":
    main()
