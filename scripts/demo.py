"""From nothing to a segmentation: `python3 scripts/demo.py [--image FILE]`.

Sets up .venv/ when needed, then finds both hippocampi in the MNI152 T1 template, a head averaged from 152 people that
the nilearn wheel ships, and writes to out/demo/: segmentations for Slicer, entropy maps, a summary and a picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap import ROOT, VENV, run_in_environment

if TYPE_CHECKING:
    from llmboost.image import Image

TEMPLATE = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
OUTPUT = ROOT / "out" / "demo"
# millimetres in MNI space: right, anterior, superior of the anterior commissure
CENTER = (26.0, -22.0, -13.0)
SIZE = (38.0, 54.0, 38.0)
# an image this small is taken for a crop of one hippocampus
CROP_MM = 100.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a T1 head in MNI space, or a crop around one hippocampus")
    arguments = parser.parse_args()
    if Path(sys.prefix) != VENV:
        image = ["--image", arguments.image.resolve()] if arguments.image else []
        return run_in_environment([__file__, *image])

    from llmboost.errors import LLMBoostError

    try:
        return demonstrate(arguments.image)
    except LLMBoostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def demonstrate(path: Path | None) -> int:
    """Crop, segment, draw and print; returns the exit status."""
    from llmboost.batch import OK, BatchOptions, segment_cases
    from llmboost.image import read_image, write_image
    from llmboost.library import find
    from llmboost.model import load_model
    from llmboost.picture import Scene, draw
    from llmboost.segnrrd import read_segmentation

    model = load_model(find("hippocampus"))
    print("image: " + (str(path) if path else "MNI152 T1, an average of 152 heads (template of the nilearn wheel)"))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    cases = {}
    for side, crop in _crops(read_image(path or _template())).items():
        cases[side] = [OUTPUT / f"{side}.nii.gz"]
        write_image(crop, cases[side][0])
    rows = segment_cases(model, cases, OUTPUT, BatchOptions(uncertainty=True))

    print(f"\n{'':8}" + "".join(f"{label.name:>24}" for label in model.card.labels) + f"{'whole':>10}{'seconds':>10}")
    scenes = []
    for row in rows:
        if row.status != OK:
            print(f"{row.id:8}{row.error}")
            continue
        volumes = "".join(f"{ml:>21.2f} mL" for ml in row.volumes_ml.values())
        print(f"{row.id:8}{volumes}{sum(row.volumes_ml.values()):>7.2f} mL{row.seconds:>10.2f}")
        labelmap, _ = read_segmentation(OUTPUT / row.output)
        scenes.append(Scene(row.id, read_image(cases[row.id][0]), labelmap))
    if scenes:
        draw(scenes, model.card.labels, OUTPUT / "picture.png")
    print(f"\nresults: {OUTPUT}\npicture: {OUTPUT / 'picture.png'}\nResearch use only, not for clinical use.")
    return 0 if len(scenes) == len(rows) else 1


def _crops(image: Image) -> dict[str, Image]:
    """Both hippocampal regions of a head by their place in MNI space; a small image as it is."""
    from llmboost.roi import Roi

    if all(size * mm < CROP_MM for size, mm in zip(image.shape, image.spacing, strict=True)):
        return {"crop": image}
    right, anterior, superior = CENTER
    # images lie in LPS: x grows to the patient's left, y backwards
    return {
        "left": Roi((right, -anterior, superior), SIZE).crop(image),
        "right": Roi((-right, -anterior, superior), SIZE).crop(image),
    }


def _template() -> Path:
    """The template inside the nilearn package, which itself is not imported."""
    return next(path for folder in map(Path, sys.path) if (path := folder / TEMPLATE).is_file())


if __name__ == "__main__":
    sys.exit(main())
