"""How the shipped classifiers came to be: several seeds, and one network that learns their mean answers.

    .venv/bin/python scripts/train_classifiers.py breast --data ../shared/data/medmnist --output out/classifiers

Every stage that is complete is skipped, and one that was stopped goes on; so the same command continues. With
`--booster none`, the last network has no language model's block, to compare on val. `--test` reads the test list, at
the very end and once, and writes its figures into the card.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch

from llmboost.booster import BoosterConfig
from llmboost.card import Card, read_card, write_card
from llmboost.evaluation import evaluate_classifier
from llmboost.io.imageset import read_image_set
from llmboost.learn.classification.augment import Augmentation
from llmboost.learn.classification.task import ClassificationConfig
from llmboost.learn.classification.train import ClassificationRecipe, train_classifier
from llmboost.library import find
from llmboost.model import load_model

LICENSE = "CC BY 4.0 (MedMNIST v2, Yang et al. 2023); the booster's block: SmolLM2-135M-Instruct, Apache-2.0"
LIMITS = "For research, not for clinical use."
# one validation, at the end: few images select by chance
SHORT = {"steps": 300, "mixup": 0.0, "validations": 1}
MIXED = {"steps": 400, "mixup": 0.2, "validations": 1}
# mirrored, but neither moved nor turned: at 28 x 28 pixels, interpolation blurs what tells
STILL = Augmentation((), 0.0, 0.0, 0.0, 0.0, intensity=0.05, noise=0.05, erase=0.0)

# what each data set needs, chosen on val and by cross-validation within train and val; all else is the same for all;
# of each teacher, what differs; networks that differ err elsewhere, and depth 0 is the convolutional stem alone
SETS: dict[str, dict[str, Any]] = {
    "adrenal": {
        "file": "adrenalmnist3d_64.npz",
        "title": "Adrenal gland: normal or hyperplasia, from its shape",
        "description": "Takes a segment of one adrenal gland, not a CT: its shape is all that the model sees.",
        "network": "vit3d-tiny",
        "options": {"stem": (24, 48), "width": 96},
        "boosted": {"mlp": 192},  # with the block, the file stays below 4 MB
        "size": 32,
        "mirror": (0, 1, 2),
        # how large a gland is says much, so sizes hardly vary
        "augmentation": Augmentation((), 30.0, 0.05, 0.05, 0.03, intensity=0.0, noise=0.0, erase=0.0),
        "config": {"steps": 600, "mixup": 0.2},
        "teachers": ({},) * 3,
    },
    "breast": {
        "file": "breastmnist.npz",
        "title": "Breast ultrasound: malignant, or normal or benign",
        "description": "Takes an ultrasound image of a breast lesion, framed by it; sees it at 28 x 28 pixels.",
        "keep_brightness": True,
        "start": "pneumonia",
        "options": {"depth": 0},
        "augmentation": STILL,
        "config": {"steps": 400, "mixup": 0.4, "validations": 1},
        "teachers": (
            {"config": SHORT},
            {"config": SHORT, "options": {}},
            {"config": SHORT, "start": None},
        )
        * 2,
    },
    "pneumonia": {
        "file": "pneumoniamnist.npz",
        "title": "Chest X-ray of a child: normal or pneumonia",
        "description": "Takes a frontal chest radiograph of a child of one to five years; sees it at 28 x 28 pixels.",
        "config": {"steps": 1500, "mixup": 0.2},
        "teachers": ({},) * 3,
    },
    "retina": {
        "file": "retinamnist.npz",
        "title": "Diabetic retinopathy: grade 0 to 4",
        "description": "Takes a color photograph of the fundus; sees it at 28 x 28 pixels.",
        "mirror": (0, 1),
        "augmentation": dataclasses.replace(STILL, intensity=0.0),  # colors say much
        # patient and on many mixtures, as learning from teachers wants it (Beyer et al. 2022, arXiv 2106.05237)
        "config": {"steps": 1200, "mixup": 1.0, "validations": 1},
        "teachers": ({"config": MIXED}, {"config": MIXED, "options": {"depth": 0}}) * 4,
    },
}


def recipe_of(
    name: str,
    seed: int,
    changes: dict[str, Any],
    booster: BoosterConfig | None,
    teachers: tuple[Path, ...],
) -> ClassificationRecipe:
    """The recipe of one network; with ``teachers``, of the one that is shipped; some start from a shipped one."""
    entry = SETS[name] | changes
    card = {key: entry.pop(key) for key in ("title", "description")}
    card |= {"name": name, "version": "1.0", "license": LICENSE, "description": f"{card['description']} {LIMITS}"}
    del entry["file"], entry["teachers"]
    if entry.get("start"):
        entry["start"] = find(entry["start"])
    boosted = entry.pop("boosted", {})
    entry["options"] = {**entry.get("options", {}), **(boosted if booster else {})}
    config = ClassificationConfig(**{"rate": 1e-3, **entry.pop("config")}, seed=seed)
    return ClassificationRecipe(config, booster=booster, teachers=teachers, card=card, **entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS)
    parser.add_argument("--data", type=Path, required=True, help="folder with MedMNIST's .npz files")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model files")
    parser.add_argument("--booster", choices=("smollm2", "none"), default="smollm2", help="of the last one")
    parser.add_argument("--test", action="store_true", help="measure the last one on test")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    booster = BoosterConfig() if arguments.booster == "smollm2" else None

    def train(
        output: Path,
        seed: int,
        changes: dict[str, Any],
        boosted: BoosterConfig | None,
        teachers: tuple[Path, ...],
    ) -> Card:
        if output.exists():
            return read_card(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        recipe = recipe_of(arguments.name, seed, changes, boosted, teachers)
        data = arguments.data / SETS[arguments.name]["file"]
        resume = (output.with_suffix(".run") / "checkpoint.safetensors").exists()
        card = train_classifier(data, output, recipe, device=torch.device("cpu"), resume=resume)
        print(output.name, {key: round(value, 4) for key, value in card.figures.items()}, flush=True)
        return card

    # the teachers need no booster: what counts is their mean answer
    folder, each = arguments.output, SETS[arguments.name]["teachers"]
    teachers = tuple(folder / f"{arguments.name}_teacher{seed}.safetensors" for seed in range(len(each)))
    for seed, (path, changes) in enumerate(zip(teachers, each, strict=True)):
        train(path, seed, changes, None, ())
    last = folder / f"{arguments.name}{'' if booster else '_unboosted'}.safetensors"
    card = train(last, len(teachers), {}, booster, teachers)
    if arguments.test:
        data = read_image_set(arguments.data / SETS[arguments.name]["file"])
        card = dataclasses.replace(
            card, figures=card.figures | test_figures(evaluate_classifier(load_model(last), data, "test"))
        )
        write_card(last, card)
    print(last, card.figures)


def test_figures(result: dict[str, Any]) -> dict[str, Any]:
    """What the card keeps of an evaluation on test."""
    kept = (
        "auc",
        "auc_ci95",
        "accuracy",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "kappa",
        "brier",
        "calibration_error",
    )
    return {f"test_{name}": result[name] for name in kept if name in result}


if __name__ == "__main__":
    main()
