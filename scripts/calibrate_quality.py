"""Calibrate a segmenter's quality flag: `.venv/bin/python scripts/calibrate_quality.py DATASET MODEL ROWS`.

Segments the val cases as they are and degraded (in another contrast, in thick slices, noisy and blurred), and writes to
ROWS (JSON lines) the Dice that the network expects of itself and the true one; rows that are there are not computed
again. Then it fits the line, and tells how well that predicts cases of subjects that it was not fitted on, and, with
`--test`, the test cases, each as it is and degraded in one way. With `--write` the numbers go into the card of the file
MODEL, whose weights and digest stay.

With `--heads`, the numbers of the model's cascade are found instead: on whole heads in T1 and FLAIR with the labels of
another program (folders t1, flair, muse), some of them in thick slices, and on the val
cases as they are. On heads a network is less sure of itself than on crops of its own data set.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from llmboost.card import Quality, read_card, write_card
from llmboost.inference.segment import segment
from llmboost.io.dataset import Dataset, load, read_dataset
from llmboost.io.image import Image, read_image, resample, resample_to_spacing, to_canonical
from llmboost.learn.augment import IMAGE, RandContrastd
from llmboost.library import find
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import Model, load_model

LIMIT = 0.8  # a mean Dice below is worth a close look; what raters of the hippocampus reach among themselves is above
KINDS = ("plain", "contrast", "thick", "noisy")
HEADS_LIMIT = 0.55  # above: all T1 heads at hand; below: FLAIR with skull, where the hippocampus is mostly missed
IN_SLICES = ("head_02", "head_08", "head_14")
DISPLACED = ("head_10",)  # its labels do not lie on its images
MUSE = (48, 47)  # left and right hippocampus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--heads", type=Path, help="the folder of heads: calibrate the cascade")
    parser.add_argument("--test", action="store_true", help="also read the test list, once the line is settled")
    parser.add_argument("--write", help="the version of the card with the numbers")
    arguments = parser.parse_args()
    path = find(arguments.model)
    model, dataset = load_model(path), read_dataset(arguments.dataset)
    raw, cascade = Quality(1.0, 0.0, LIMIT), model.card.cascade
    plain = cascade and dataclasses.replace(cascade, quality=None)
    model = Model(dataclasses.replace(model.card, quality=raw, cascade=plain), model.network)
    rows = measure(model, dataset, "val", arguments.rows)
    if arguments.heads:
        heads = measure_heads(model, arguments.heads, arguments.rows)
        slope, intercept = fit([*heads, *(row for row in rows if row["kind"] == "plain")])
        figures = {"heads": errors(heads, predict(heads, slope, intercept), HEADS_LIMIT)}
        print(f"Dice = {intercept:.3f} + {slope:.3f} * expected Dice; {json.dumps(figures)}")
        if arguments.write and cascade:
            quality = Quality(round(slope, 4), round(intercept, 4), HEADS_LIMIT, figures)
            card = dataclasses.replace(read_card(path), cascade=dataclasses.replace(cascade, quality=quality))
            write_card(path, dataclasses.replace(card, version=arguments.write))
        return
    slope, intercept = fit(rows)
    figures = {"val": errors(rows, leave_out(rows))}
    if arguments.test:
        rows = measure(model, dataset, "test", arguments.rows)
        figures["test"] = errors(rows, predict(rows, slope, intercept))
    print(f"Dice = {intercept:.3f} + {slope:.3f} * expected Dice")
    for split, numbers in figures.items():
        print(f"{split}: {json.dumps(numbers)}")
    if arguments.write:
        quality = Quality(round(slope, 4), round(intercept, 4), LIMIT, figures)
        write_card(path, dataclasses.replace(read_card(path), quality=quality, version=arguments.write))
        print(f"{path}: card {arguments.write}")


def measure(model: Model, dataset: Dataset, split: str, path: Path) -> list[dict[str, Any]]:
    """A row for each case as it is, and degraded: val cases in each way, test cases in one."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = {(row["case"], row["kind"]): row for row in map(json.loads, lines)}
    wanted = []
    for n, case in enumerate(dataset.split(split)):
        kinds = KINDS if split == "val" else ("plain", KINDS[1 + n % 3])
        for kind in kinds:
            wanted.append((case.id, kind))
            if wanted[-1] in rows:
                continue
            (image,), truth = load(case)
            assert truth is not None
            found = segment(model, [degrade(image, kind, zlib.crc32(f"{case.id} {kind}".encode()))])
            drawn = resample(found.labelmap, truth, "nearest").array
            values = tuple(label.value for label in model.card.labels)
            scores = segmentation_scores(drawn, truth.array.round().astype(int), truth.spacing, values)
            assert found.quality is not None
            row = {
                "case": case.id,
                "split": split,
                "kind": kind,
                "expected": found.quality.predicted_dice,
                "dice": float(np.mean(list(scores["dice"].values()))),
            }
            rows[wanted[-1]] = row
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return [rows[key] for key in wanted]


def measure_heads(model: Model, folder: Path, path: Path) -> list[dict[str, Any]]:
    """A row for each head as it is, and for some in slices of 6 mm along each axis."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows, wanted = {(row["case"], row["kind"]): row for row in map(json.loads, lines)}, []
    for file in sorted([*folder.glob("t1/*.nii.gz"), *folder.glob("flair/*.nii.gz")]):
        name, contrast = file.name.removesuffix(".nii.gz"), file.parent.name
        if name in DISPLACED:
            continue
        for across in (None, 0, 1, 2) if name in IN_SLICES and contrast == "t1" else (None,):
            wanted.append((name, contrast if across is None else f"{contrast}, 6 mm along {'RAS'[across]}"))
            if wanted[-1] in rows:
                continue
            image = to_canonical(read_image(file))
            if across is not None:
                spacing = [6.0 if n == across else mm for n, mm in enumerate(image.spacing)]
                image = resample_to_spacing(image, spacing)
            found, truth = segment(model, [image]), read_image(folder / "muse" / file.name)
            drawn = resample(found.labelmap, truth, "nearest").array
            half = len(found.labels) // 2
            dice = []
            for n, value in enumerate(MUSE):
                values = [label.value for label in found.labels[n * half : (n + 1) * half]]
                one, other = np.isin(drawn, values), truth.array.round() == value
                dice.append(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))
            assert found.quality is not None
            row = {
                "case": name,
                "split": "heads",
                "kind": wanted[-1][1],
                "expected": found.quality.predicted_dice,
                "dice": float(np.mean(dice)),
            }
            rows[wanted[-1]] = row
            with path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
    return [rows[key] for key in wanted]


def degrade(image: Image, kind: str, seed: int) -> Image:
    """The image as a worse scan might show it; how much worse, is drawn."""
    random = np.random.default_rng(seed)
    values = image.array.astype(np.float32)
    if kind == "contrast":
        change = RandContrastd(IMAGE, prob=1.0)
        change.set_random_state(seed=seed)
        return image.with_array(change({IMAGE: torch.from_numpy(values)})[IMAGE].numpy())
    if kind == "thick":
        across, thickness = random.integers(3), random.uniform(3, 9)
        return resample_to_spacing(image, [thickness if n == across else mm for n, mm in enumerate(image.spacing)])
    if kind == "noisy":
        values = ndimage.gaussian_filter(values, random.uniform(0, 2))
        return image.with_array(values + random.uniform(0, 1.5) * values.std() * random.standard_normal(values.shape))
    return image


def fit(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Slope and intercept by least squares; the slope is not negative."""
    expected, dice = (np.array([row[name] for row in rows]) for name in ("expected", "dice"))
    slope = max(float(np.polyfit(expected, dice, 1)[0]), 0.0)
    return slope, float(dice.mean() - slope * expected.mean())


def predict(rows: list[dict[str, Any]], slope: float, intercept: float) -> np.ndarray:
    return np.clip(intercept + slope * np.array([row["expected"] for row in rows]), 0, 1)


def leave_out(rows: list[dict[str, Any]]) -> np.ndarray:
    """Each row predicted by a line that was fitted on other subjects; cases 2k-1 and 2k show one."""
    subjects = np.array([(int(re.findall(r"\d+", row["case"])[-1]) - 1) // 2 for row in rows])
    result = np.empty(len(rows))
    for subject in np.unique(subjects):
        out = subjects == subject
        line = fit([row for row, left in zip(rows, out, strict=True) if not left])
        result[out] = predict([row for row, left in zip(rows, out, strict=True) if left], *line)
    return result


def errors(rows: list[dict[str, Any]], predicted: np.ndarray, limit: float = LIMIT) -> dict[str, Any]:
    """How well the true Dice is predicted, and whether cases below the limit are told."""
    dice, plain = np.array([row["dice"] for row in rows]), np.array([row["kind"] in ("plain", "t1") for row in rows])
    low, told = dice < limit, predicted < limit
    numbers = {
        "cases": len(rows),
        "mae": np.abs(predicted - dice).mean(),
        "mae_of_means": np.abs(dice.mean() - dice).mean(),
        "correlation": np.corrcoef(predicted, dice)[0, 1],
        "mae_undegraded": np.abs(predicted - dice)[plain].mean(),
        "correlation_undegraded": np.corrcoef(predicted[plain], dice[plain])[0, 1],
        "low": int(low.sum()),
        "low_told": (told & low).sum() / max(low.sum(), 1),
        "good_told_low": (told & ~low).sum() / max((~low).sum(), 1),
    }
    return {name: round(float(value), 4) for name, value in numbers.items()}


if __name__ == "__main__":
    main()
