"""Train the shipped model `hippocampus` again: `.venv/bin/python scripts/train_hippocampus.py DATASET OUTPUT`.

DATASET is Task04_Hippocampus of the Medical Segmentation Decathlon with a splits.json that keeps the two sides of a
subject together. Three stages, each a call: `--stage 1` learns T1 (about an hour on two free CPU cores); `--stage 2`
and `--stage 3`, each with `--start` and the model of the stage before, go on with many windows in random contrasts, and
then in thick slices, too. What ships lies between the first stage and the last (`--first` with the first one's model):
its weights are an average. `--resume` continues a run that was stopped. At the end the test list is read once, and its
figures go into the model's card.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from events import print_event
from llmboost.booster import BoosterConfig
from llmboost.card import LEFT, PALETTE, RIGHT, Cascade, Code, Label, Target
from llmboost.evaluation import evaluate
from llmboost.inference.device import choose_device
from llmboost.io.dataset import Dataset, read_dataset
from llmboost.learn.train import Recipe, train
from llmboost.learn.trainer import TrainingConfig
from llmboost.model import load_model, save_model
from measure_contrasts import measure

HIPPOCAMPUS = Code("SCT", "5366008", "Hippocampus")
ANTERIOR = Code("SCT", "255549009", "Anterior")
POSTERIOR = Code("SCT", "255551008", "Posterior")

CARD = {
    "title": "Hippocampus, anterior and posterior",
    "description": (
        "Head (anterior) and body with tail (posterior) of the hippocampus in MR, any axes order: of both in a head,"
        " which the model 'brain' finds them in, or of one in a crop of about 40 x 56 x 40 mm. Trained on T1, partly in"
        " made-up contrasts: other sequences work, less accurately. Not for clinical use."
    ),
    "modality": "MR",
    "labels": (
        Label(1, "Anterior hippocampus", PALETTE[0], type=HIPPOCAMPUS, modifier=ANTERIOR),
        Label(2, "Posterior hippocampus", PALETTE[1], type=HIPPOCAMPUS, modifier=POSTERIOR),
    ),
    "largest_component": True,
    # a slab or a tight crop still holds 100 mL of brain, the largest brains have 2 L; hippocampi have 1.5 to 5 mL, and
    # what the localizer sees of them at 4 mm is less accurate; it is sure of heads by 0.54 to 0.60, of a chest by 0.45
    "cascade": Cascade(
        "brain",
        (Target("Left hippocampus", LEFT), Target("Right hippocampus", RIGHT)),
        "head",
        (100.0, 2300.0),
        (0.5, 15.0),
        0.5,
    ),
    "license": "CC-BY-SA 4.0 (training data); frozen block: Apache-2.0 (SmolLM2-135M-Instruct, 4-bit)",
    "citation": "Antonelli et al. 2022, arXiv 2106.05735; Simpson et al. 2019, arXiv 1902.09063",
}
STAGES = {
    1: TrainingConfig(steps=7000, rate=1e-3),
    2: TrainingConfig(steps=750, rate=4e-4, contrast=0.5, validations=5),
    3: TrainingConfig(steps=500, rate=3e-4, contrast=0.4, thick=0.4, validations=2),
}
# Between fine-tuned weights and those before lies a better compromise than either (WiSE-FT, arXiv 2109.01903). Of 3/4,
# 9/10 and 1, by val Dice (measure_contrasts.py): as they are 0.8830, 0.8819, 0.8802; in random contrasts 0.768, 0.785,
# 0.790; in slices of 6 mm 0.726, 0.729, 0.729. The first stage alone: 0.8837, 0.314, 0.591. What 4,500 more steps
# won and lost, docs/not-worked.md tells.
SHARE = 0.75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--stage", type=int, choices=STAGES, default=1)
    parser.add_argument("--start", type=Path, help="the model of the stage before")
    parser.add_argument("--first", type=Path, help="the first stage's model, to average the last one's with")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    recipe = Recipe(
        STAGES[arguments.stage],
        booster=BoosterConfig("smollm2", layers=(20,)),
        card=CARD,
        start=arguments.start,
    )
    card = train(
        arguments.dataset,
        arguments.output,
        recipe,
        device=choose_device("auto"),
        resume=arguments.resume,
        report=print_event,
    )
    print(f"{arguments.output}: val Dice {card.figures['val_dice']:.4f}")
    if arguments.first:
        average(arguments.output, arguments.first)
        add_figures(arguments.output, read_dataset(arguments.dataset))


def average(path: Path, first: Path) -> None:
    """Move the weights of the model file at ``path`` back towards those of ``first``."""
    before, last = load_model(first).network.state_dict(), load_model(path)
    weights = {
        name: torch.lerp(before[name], tensor, SHARE) if tensor.is_floating_point() else tensor
        for name, tensor in last.network.state_dict().items()
    }
    last.network.load_state_dict(weights)
    save_model(last.network, last.card, path)


def add_figures(path: Path, dataset: Dataset) -> None:
    """Put figures on val, and means and intervals on test, into the card of the model file at ``path``."""
    model = load_model(path)
    result = {split: evaluate(model, dataset, split) for split in ("val", "test")}
    chosen = ("mean_dice", "mean_dice_ci95", "mean_hd95_mm", "mean_hd95_mm_ci95", "mean_nsd_1mm", "mean_nsd_1mm_ci95")
    figures = {f"test_{name}": result["test"][name] for name in chosen}
    for split, summary in result.items():
        figures[f"{split}_dice_per_label"] = {label: entry["mean"] for label, entry in summary["dice"].items()}
    figures |= measure(model, dataset)
    save_model(model.network, dataclasses.replace(model.card, figures=figures), path)


if __name__ == "__main__":
    main()
