"""Train the shipped model `brain`, or `brain-1mm`, again: `.venv/bin/python scripts/train_brain.py MAPS OUTPUT`.

MAPS is a folder with SynthSeg's label maps (training_seg_01.nii.gz, ...; Apache-2.0), at 2 mm for `brain`, which was
trained with `--steps 6500`, at 1 mm for `brain-1mm`. The network sees synthetic heads of random contrast, pose and
resolution, made as it learns; with `--heads FOLDER` a third of what it sees is real ones (t1/, flair/, muse/). The
last four maps, and heads, are for validation alone. `--resume` continues a run that was stopped; `--start` begins with
the weights of a model.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from events import print_event
from llmboost.booster import BoosterConfig
from llmboost.card import SEGMENTATION, Card, Cascade, Preprocessing, Target, Tiling
from llmboost.inference.device import choose_device
from llmboost.learn.augment import IMAGE, LABEL
from llmboost.learn.curve import draw_curve
from llmboost.learn.patches import Volume
from llmboost.learn.provenance import made_with
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.train import run_folder
from llmboost.learn.trainer import Outcome, Trainer, TrainingConfig
from llmboost.model import load_model, save_model
from llmboost.networks import build, describe
from synthesis import COARSE, FINE, Structure, SyntheticHeads, head_labels, read_head_map
from synthesis.pose import Reach
from synthesis.real import Mixed, RealHeads, read_real_heads

NETWORK = "hybrid-vit"
VAL_MAPS, VAL_SEED = 4, 2**20
LEARNED_HEADS = 8  # of the real ones
REAL = 0.35  # the share of patches


@dataclass(frozen=True)
class Design:
    """What is trained.

    Attributes:
        spacing: mm.
        patch_size: voxels.
        reach: of patches that show a part of a head; of those to validate on, half as far.
        network: options.
        training: the recipe, as far as it is not the usual one.
        validating: synthetic and real patches to validate on.
    """

    structures: tuple[Structure, ...]
    spacing: float
    patch_size: tuple[int, int, int]
    reach: Reach | None
    network: dict[str, Any]
    training: dict[str, Any]
    validating: tuple[int, int]
    card: dict[str, Any] = field(repr=False)


DESIGNS = {
    "brain": Design(
        structures=COARSE,
        spacing=4.0,
        patch_size=(48, 56, 48),  # the whole brain at once, so that the network knows left from right
        reach=None,
        network={"stem": (32, 48), "strides": ((2, 2, 2),) * 2, "width": 80, "depth": 3, "heads": 4, "mlp_ratio": 2},
        training={"rate": 2e-3, "validations": 13},
        validating=(24, 0),
        card={
            "title": "Brain structures, coarse, in MR of any contrast",
            "description": (
                "13 structures of the brain, 11 of them left and right, at 4 mm, in a head of any MR contrast and"
                " resolution, also without skull. Trained on synthetic images alone. It finds where structures are,"
                " for other models that look closer; borders of thin ones (cortex) are coarse. Not for clinical use."
            ),
            "license": "Apache-2.0 (SynthSeg's label maps); frozen block: Apache-2.0 (SmolLM2-135M-Instruct, 4-bit)",
            "citation": "Billot et al. 2023, Medical Image Analysis 86, 102789",
        },
    ),
    "brain-1mm": Design(
        structures=FINE,
        spacing=1.0,
        patch_size=(80, 96, 80),
        reach=(45.0, 60.0, 45.0),
        network={"stem": (32, 48, 88), "strides": ((2, 2, 2),) * 3, "width": 128, "depth": 4, "heads": 4},
        training={"optimizer": "muon", "clip": 5.0, "ema": 0.995, "validations": 10},
        validating=(10, 6),
        card={
            "title": "Brain structures at 1 mm, in MR of any contrast",
            "description": (
                "17 structures of the brain, 13 of them left and right, at 1 mm, in a head of any MR contrast and"
                " resolution, also without skull. Trained on synthetic images and on eight real heads (T1, FLAIR) with"
                " labels that another network drew. Of a symmetric head it draws one side larger: by 3 % (median of 13"
                " structures), by 10 to 24 % of caudate, putamen, ventral diencephalon and accumbens; smaller asymmetry"
                " is none. Not for clinical use."
            ),
            "license": (
                "Apache-2.0 (SynthSeg's label maps); real heads: NiChart's samples, SBIA software agreement (free use"
                " and redistribution; probably of IXI, CC BY-SA 3.0); frozen block: Apache-2.0 (SmolLM2-135M-Instruct,"
                " 4-bit)"
            ),
            "citation": "Billot et al. 2023, Medical Image Analysis 86, 102789; Doshi et al. 2016, NeuroImage 127, 186",
            # at 4 mm it is no measure: T1 and FLAIR of one head differ by 3.5 % (median of 11 heads), and by up to 15 %
            "intracranial": tuple(label.value for label in head_labels(FINE)),
            "tiling": Tiling(overlap=0.25),
            "cascade": Cascade("brain", (Target(""),), "head", (150.0, 3000.0), (0.3, 15.0), certainty=0.5),
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path)
    parser.add_argument("output", type=Path, help="its name is that of the design: brain, or brain-1mm")
    parser.add_argument("--heads", type=Path)
    parser.add_argument("--booster", choices=("smollm2", "none"), default="smollm2")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int)
    budget.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    if arguments.output.stem not in DESIGNS:
        parser.error(f"{arguments.output}: name it as one of {', '.join(DESIGNS)}")
    design, seed = DESIGNS[arguments.output.stem], arguments.seed
    steps, minutes = arguments.steps, arguments.minutes
    config = TrainingConfig(steps=steps, minutes=minutes, batch=1, balance=0.5, seed=seed, **design.training)
    torch.manual_seed(seed)
    booster = BoosterConfig("smollm2", layers=(20,)) if arguments.booster == "smollm2" else None
    options = {"classes": len(head_labels(design.structures)) + 1, "unshuffle": 2, "dropout": 0.0, **design.network}
    network = build(NETWORK, options, booster)
    if arguments.start:
        network.load_state_dict(load_model(arguments.start).network.state_dict())
    preprocessing = Preprocessing(spacing=(design.spacing,) * 3, patch_size=design.patch_size)
    train, val = samples(design, arguments.maps, arguments.heads, config)
    labels = {label.value: label.name for label in head_labels(design.structures)}
    task = SegmentationTask(train, val, preprocessing, config, labels)
    trainer = Trainer(network, task, run_folder(arguments.output), choose_device("auto"), print_event)
    if arguments.resume:
        trainer.resume()
    outcome = trainer.run()
    assert outcome.score is not None
    network.load_state_dict({**network.state_dict(), **outcome.state})
    save_model(network, card_of(design, arguments, preprocessing, network, outcome, config), arguments.output)
    draw_curve(run_folder(arguments.output), labels)
    print(f"{arguments.output}: val Dice {outcome.score.value:.4f}")


def samples(
    design: Design, maps: Path, heads: Path | None, config: TrainingConfig
) -> tuple[torch.utils.data.Dataset[dict[str, torch.Tensor]], list[Volume]]:
    """What is learned from, and what is validated on: of other maps and heads, each with a brain."""
    every = [read_head_map(path) for path in sorted(maps.glob("*.nii.gz"))]
    real = read_real_heads(heads, design.spacing) if heads else []
    shape, kinds = (design.patch_size, design.spacing), design.structures
    train: Any = SyntheticHeads(
        every[:-VAL_MAPS], *shape, config.samples, config.seed, structures=kinds, reach=design.reach
    )
    reach = design.reach and (design.reach[0] / 2, design.reach[1] / 2, design.reach[2] / 2)
    synthetic, others = design.validating
    val: Any = SyntheticHeads(every[-VAL_MAPS:], *shape, synthetic, VAL_SEED, negative=0, structures=kinds, reach=reach)
    shown = [val[n] for n in range(synthetic)]
    if real:
        assert design.reach is not None
        assert reach is not None
        train = Mixed(train, RealHeads(real[:LEARNED_HEADS], *shape, config.seed, design.reach), REAL)
        unseen = RealHeads(real[LEARNED_HEADS:], *shape, VAL_SEED, reach)
        shown += [unseen[n] for n in range(others)]
    return train, [Volume(f"head {n}", sample[IMAGE], sample[LABEL].short()) for n, sample in enumerate(shown)]


def card_of(
    design: Design,
    arguments: argparse.Namespace,
    preprocessing: Preprocessing,
    network: torch.nn.Module,
    outcome: Outcome,
    config: TrainingConfig,
) -> Card:
    network_entry, booster_entry = describe(network)
    assert outcome.score is not None
    real = f", and {LEARNED_HEADS} real heads, others for validation" if arguments.heads else ""
    training = {
        "data": f"synthetic heads from 16 of SynthSeg's label maps, {VAL_MAPS} others for validation{real}",
        "data_license": design.card["license"].partition("; frozen")[0],
        "steps": outcome.steps,
        "minutes": round(outcome.seconds / 60, 1),
        "config": asdict(config),
        **made_with(),
    }
    return Card(
        name=arguments.output.stem,
        task=SEGMENTATION,
        labels=head_labels(design.structures),
        modality="MR",
        preprocessing=preprocessing,
        network=network_entry,
        booster=booster_entry,
        training=training,
        figures={"val_dice": outcome.score.value, "val_dice_per_label": outcome.score.known_labels},
        **design.card,
    )


if __name__ == "__main__":
    main()
