"""A model of the brain on whole heads: `.venv/bin/python scripts/measure_brain.py VIEWER OUTPUT [--model brain]`.

VIEWER holds templates/ with ch2 (one person's head), the atlas AAL drawn on it, and the MNI152 T1 with its gray and
white matter, and nifti/ with a patient's T1, T2 and FLAIR. Prints Dice against the atlas, for the structures that both
know, and against the tissues, the distance of the middles of each structure, and writes a picture of each head into
OUTPUT. The atlas is drawn by other rules, on one person: what it says is a plausibility, not an accuracy. With `--heads
FOLDER` (t1/, flair/, muse/), also Dice of nine structures in the real heads that no model here learned from; with
`--maps FOLDER` (SynthSeg's, at 1 mm), of all structures in whole heads of random contrast, made of the four maps that
none learned from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmboost.inference.segment import Segmentation, segment
from llmboost.io.image import Image, read_image, resample
from llmboost.io.picture import Scene, draw
from llmboost.learn.augment import IMAGE, LABEL
from llmboost.library import find
from llmboost.model import Model, load_model
from synthesis import FINE, SyntheticHeads, head_labels, read_head_map
from synthesis.real import MOVED, classes_of_regions, heads_with_regions
from train_brain import LEARNED_HEADS, VAL_MAPS

# values of AAL's table of names
AAL = {
    "hippocampus": (37, 38),
    "amygdala": (41, 42),
    "caudate nucleus": (71, 72),
    "putamen": (73, 74),
    "globus pallidus": (75, 76),
    "thalamus": (77, 78),
}
CEREBELLUM = range(91, 117)
NINE = (
    "thalamus",
    "caudate nucleus",
    "putamen",
    "globus pallidus",
    "hippocampus",
    "amygdala",
    "lateral ventricle",
    "cerebral white matter",
    "cerebral cortex",
)
SYNTHETIC, FEWEST = 8, 50  # heads; voxels of a structure that is in view
SEQUENCES = ("T1", "T2", "FLAIR")
TISSUES = {
    "gray": ("gm", ("cerebral cortex", "hippocampus", "amygdala", "caudate", "putamen", "cerebellum")),
    "white": ("wm", ("cerebral white matter", "brain stem")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("viewer", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="brain")
    parser.add_argument("--heads", type=Path)
    parser.add_argument("--maps", type=Path)
    arguments = parser.parse_args()
    model, templates = load_model(find(arguments.model)), arguments.viewer / "templates"

    def found_in(name: str) -> tuple[Image, dict[str, np.ndarray]]:
        image = read_image(templates / f"{name}.nii.gz")
        result = segment(model, [image])
        draw([Scene("brain", image, result.labelmap)], result.labels, arguments.output / f"brain_{name[:6]}.png")
        return image, {label.name: result.labelmap.array == label.value for label in result.labels}

    image, found = found_in("ch2")
    atlas = read_image(templates / "aal.nii.gz").array
    for name, values in AAL.items():
        for side, value in zip(("Left", "Right"), values, strict=True):
            _tell(f"ch2, {side} {name}", found[f"{side} {name}"], atlas == value, image)
    cerebellum = np.any([mask for label, mask in found.items() if "cerebell" in label], axis=0)
    _tell("ch2, cerebellum", cerebellum, np.isin(atlas, CEREBELLUM), image)

    template = "mni_icbm152_{}_tal_nlin_sym_09a_converted"
    image, found = found_in(template.format("t1"))
    for tissue, (name, parts) in TISSUES.items():
        reference = read_image(templates / f"{template.format(name)}.nii.gz").array > 127
        mask = np.any([mask for label, mask in found.items() if any(part in label.lower() for part in parts)], axis=0)
        _tell(f"MNI152, {tissue} matter", mask, reference, image)
    measure_sequences(model, arguments.viewer / "nifti", arguments.output)
    if arguments.heads:
        measure_heads(model, arguments.heads)
    if arguments.maps:
        measure_synthetic(model, arguments.maps)


def measure_sequences(model: Model, folder: Path, output: Path) -> None:
    """How far the volumes of one patient's structures differ between sequences, which show the same brain."""
    volumes: dict[str, list[float]] = {}
    for sequence in SEQUENCES:
        image = read_image(folder / f"mr_stroke_{sequence}.nii.gz")
        found = segment(model, [image])
        draw([Scene(sequence, image, found.labelmap)], found.labels, output / f"brain_{sequence}.png")
        for name, ml in found.volumes_ml.items():
            volumes.setdefault(name, []).append(ml)
    large = {name: each for name, each in volumes.items() if max(each) > 1}
    differ = {name: (max(each) - min(each)) / np.mean(each) for name, each in large.items()}
    hippocampi = [ml for name, each in volumes.items() if "hippocampus" in name for ml in each]
    print(
        f"{', '.join(SEQUENCES)} of a patient: volumes of {len(differ)} structures over 1 mL differ by"
        f" {np.median([*differ.values()]):.0%} (median; largest - smallest, of the mean); hippocampi of"
        f" {min(hippocampi):.1f} to {max(hippocampi):.1f} mL",
        flush=True,
    )


def measure_heads(model: Model, folder: Path) -> None:
    """Mean Dice of nine structures, by sequence."""
    names = {label.value: label.name for label in head_labels(FINE)}
    for sequence in ("T1", "FLAIR"):
        dice: dict[str, list[float]] = {}
        for path in heads_with_regions(folder)[LEARNED_HEADS:]:
            if sequence == "FLAIR" and path.name in MOVED:
                continue
            t1, regions = read_image(path), read_image(folder / "muse" / path.name)
            found = segment(model, [read_image(folder / sequence.lower() / path.name)])
            drawn = resample(found.labelmap, t1, "nearest", fill=0).array
            reference = classes_of_regions(np.rint(regions.array).astype(np.int16))
            for value, name in names.items():
                if name.partition(" ")[2] in NINE:
                    dice.setdefault(name, []).append(_dice(drawn == _value(found, name), reference == value))
        print(f"{sequence}: mean Dice {np.mean([*dice.values()]):.3f};", _worst_first(dice), flush=True)


def measure_synthetic(model: Model, folder: Path) -> None:
    """Mean Dice of the model's own structures in synthetic heads of 1 mm: in all, and where it takes them for heads."""
    maps = [read_head_map(path) for path in sorted(folder.glob("*.nii.gz"))[-VAL_MAPS:]]
    made = SyntheticHeads(maps, (192, 224, 192), 1.0, SYNTHETIC, 77, negative=0, structures=FINE)
    dice: dict[str, list[float]] = {}
    heads: list[float] = []  # mean of each that is taken for a head
    for n in range(SYNTHETIC):
        sample = made[n]
        image = Image(sample[IMAGE][0].numpy(), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))
        found = segment(model, [image])
        own = []
        for label in head_labels(FINE):
            reference = sample[LABEL][0].numpy() == label.value
            if reference.sum() > FEWEST and any(one.name == label.name for one in found.labels):
                mask = found.labelmap.array == _value(found, label.name)
                own.append(_dice(mask, reference))
                dice.setdefault(label.name, []).append(own[-1])
        heads += [float(np.mean(own))] if found.labelmap.array.any() else []
    means = [np.mean(each) for each in dice.values()]
    print(
        f"synthetic heads: mean Dice {np.mean(means):.3f}; {len(heads)} of {SYNTHETIC} are taken for heads, and have"
        f" {', '.join(f'{one:.2f}' for one in heads)};",
        _worst_first(dice),
        flush=True,
    )


def _value(found: Segmentation, name: str) -> int:
    return next((label.value for label in found.labels if label.name == name), -1)


def _dice(found: np.ndarray, reference: np.ndarray) -> float:
    return float(2 * np.sum(found & reference) / max(found.sum() + reference.sum(), 1))


def _worst_first(dice: dict[str, list[float]]) -> str:
    means = sorted((float(np.mean(each)), name) for name, each in dice.items())
    return ", ".join(f"{name} {mean:.2f}" for mean, name in means)


def _tell(name: str, found: np.ndarray, reference: np.ndarray, image: Image) -> None:
    dice = _dice(found, reference)
    middles = [np.argwhere(mask).mean(axis=0) * image.spacing for mask in (found, reference)]
    ml = found.sum() * np.prod(image.spacing) / 1000
    print(f"{name}: Dice {dice:.2f}, {ml:.1f} mL, middles {np.linalg.norm(middles[0] - middles[1]):.1f} mm apart")


if __name__ == "__main__":
    main()
