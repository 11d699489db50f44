"""From nothing to a segmentation: `python3 scripts/demo.py [--image FILE]`.

Sets up .venv/ when needed, then finds both hippocampi in the MNI152 T1 template, a whole head averaged from 152 people
that the nilearn wheel ships, and writes to out/demo/: a segmentation for Slicer, an entropy map, a summary, a picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bootstrap import ROOT, VENV, run_in_environment

TEMPLATE = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
OUTPUT = ROOT / "out" / "demo"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a T1 head, or a crop around one hippocampus")
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
    """Segment, draw and print; returns the exit status."""
    from llmboost.batch import OK, SegmentOptions, segment_cases
    from llmboost.errors import LLMBoostError
    from llmboost.io.cases import find_cases
    from llmboost.io.image import read_image
    from llmboost.io.picture import Scene, draw
    from llmboost.io.segnrrd import read_segmentation
    from llmboost.library import find
    from llmboost.model import load_model

    model = load_model(find("hippocampus"))
    print("image: " + (str(path) if path else "MNI152 T1, an average of 152 heads (template of the nilearn wheel)"))
    title = path.name[:20] if path else "MNI152"
    path = path or _template()
    cases = find_cases([path], model.card.preprocessing)
    (row,) = segment_cases(model, cases, OUTPUT, SegmentOptions(uncertainty=True))
    if row.status != OK:
        raise LLMBoostError(row.error)
    for name, ml in row.volumes_ml.items():
        print(f"{name:30}{ml:6.2f} mL")
    for warning in row.warnings:
        print(f"warning: {warning}")
    labels = [x for x in (*model.card.labels, *model.card.sided_labels) if x.name in row.volumes_ml]
    labelmap, _ = read_segmentation(OUTPUT / row.output)
    draw([Scene(title, read_image(path), labelmap)], labels, OUTPUT / "picture.png")
    print(f"{row.seconds:.1f} s\nresults: {OUTPUT}\npicture: {OUTPUT / 'picture.png'}")
    print("Research use only, not for clinical use.")
    return 0


def _template() -> Path:
    """The template inside the nilearn package, which itself is not imported."""
    return next(path for folder in map(Path, sys.path) if (path := folder / TEMPLATE).is_file())


if __name__ == "__main__":
    sys.exit(main())
