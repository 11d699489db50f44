"""The model `brain` on real heads: `.venv/bin/python scripts/measure_brain.py VIEWER OUTPUT [--model brain]`.

VIEWER holds templates/ with ch2 (one person's head), the atlas AAL drawn on it, and the MNI152 T1 with its gray and
white matter. Prints Dice against the atlas, for the structures that both know, and against the tissues, the distance of
the middles of each structure, and writes a picture of each head into OUTPUT. The atlas is drawn by other rules, on one
person: what it says is a plausibility, not an accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmboost.inference.segment import segment
from llmboost.io.image import Image, read_image
from llmboost.io.picture import Scene, draw
from llmboost.library import find
from llmboost.model import load_model

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
TISSUES = {
    "gray": ("gm", ("cerebral cortex", "hippocampus", "amygdala", "caudate", "putamen", "cerebellum")),
    "white": ("wm", ("cerebral white matter", "brain stem")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("viewer", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="brain")
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
    cerebellum = found["Left cerebellum"] | found["Right cerebellum"]
    _tell("ch2, cerebellum", cerebellum, np.isin(atlas, CEREBELLUM), image)

    template = "mni_icbm152_{}_tal_nlin_sym_09a_converted"
    image, found = found_in(template.format("t1"))
    for tissue, (name, parts) in TISSUES.items():
        reference = read_image(templates / f"{template.format(name)}.nii.gz").array > 127
        mask = np.any([mask for label, mask in found.items() if any(part in label.lower() for part in parts)], axis=0)
        _tell(f"MNI152, {tissue} matter", mask, reference, image)


def _tell(name: str, found: np.ndarray, reference: np.ndarray, image: Image) -> None:
    dice = 2 * np.sum(found & reference) / (found.sum() + reference.sum())
    middles = [np.argwhere(mask).mean(axis=0) * image.spacing for mask in (found, reference)]
    ml = found.sum() * np.prod(image.spacing) / 1000
    print(f"{name}: Dice {dice:.2f}, {ml:.1f} mL, middles {np.linalg.norm(middles[0] - middles[1]):.1f} mm apart")


if __name__ == "__main__":
    main()
