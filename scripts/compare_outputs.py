"""Do two trees give the same? `.venv/bin/python scripts/compare_outputs.py BEFORE [AFTER] [--models M ...]`.

BEFORE and AFTER (by default this tree) are checkouts, or folders that `--record` made of one. Each shipped model runs
through the command line on at least three real cases of LLMBOOST_DATA, with uncertainty and an explanation. Every file
it wrote is compared voxel by voxel, and every case's line in summary.json but what names a run (seconds, paths,
digests). A line a case and file tells what is equal and what differs, and the exit status is 1 if anything does.

    .venv/bin/python scripts/compare_outputs.py ../before --record out/before     # keep what a tree gives, once
    .venv/bin/python scripts/compare_outputs.py out/before --models breast brain  # this tree against it
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from bootstrap import PYTHON, ROOT

DATA = Path(os.environ.get("LLMBOOST_DATA") or ROOT.parent / "shared" / "data")
CROPS = "Task04_Hippocampus/imagesTr/hippocampus"
NECKS = "headneck_ct/imagesTr"
HEAD = "viewer/templates/ch2.nii.gz"
# images in DATA, or the archive whose first three test images are taken, and one of another kind, to be refused
CASES: dict[str, list[str] | str] = {
    "hippocampus": [f"{CROPS}_039.nii.gz", f"{CROPS}_044.nii.gz", HEAD],
    "brain": [HEAD, "viewer/nifti/mr_stroke_T1.nii.gz", "heads_t1_flair_2mm/flair/head_00.nii.gz"],
    "headneck": [
        f"{NECKS}/pt_155_0000.nii.gz",
        f"{NECKS}/pt_171_0000.nii.gz",
        "viewer/nifti/ct_head_invesalius_cranium.nii.gz",
    ],
    "adrenal": "medmnist/adrenalmnist3d_64.npz",
    "breast": "medmnist/breastmnist.npz",
    "pneumonia": "medmnist/pneumoniamnist.npz",
    "retina": "medmnist/retinamnist.npz",
}
NAMES_A_RUN = ("seconds", "input", "made_from", "results")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="run BEFORE alone and keep its results here")
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.before, arguments.record.resolve(), arguments.models)
        return 0
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.models:
            before = results(arguments.before, Path(scratch, "before"), model)
            after = results(arguments.after, Path(scratch, "after"), model)
            for line, equal in compared(before, after):
                print(f"{model}: {line}", flush=True)
                differing += not equal
    print(f"{differing} differ" if differing else "all equal")
    return 1 if differing else 0


def results(tree: Path, scratch: Path, model: str) -> Path:
    """The folder of what ``tree`` gives with ``model``; run now, unless ``tree`` is a record."""
    if (tree / "LLMBoostSegment").is_dir():
        record(tree, scratch, [model])
        return scratch / model
    return tree / model


def record(tree: Path, folder: Path, models: list[str]) -> None:
    """Run ``models`` of ``tree``, each into its folder in ``folder``."""
    package = str(tree.resolve() / "LLMBoostSegment")
    environment = os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1", "PYTHONNOUSERSITE": "1"}
    for model in models:
        arguments = (
            ["segment", "--format", "nii.gz", "--uncertainty"] if isinstance(CASES[model], list) else ["classify"]
        )
        arguments += ["--model", model, "--explain", "--device", "cpu", "--overwrite", "--output", str(folder / model)]
        command = [str(PYTHON), "-m", "llmboost", *arguments, *map(str, images(model, folder / "images"))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        summary = folder / model / "summary.json"  # a refused case is a result, too, with exit status 1
        if not summary.exists() or '"status": "failed"' in summary.read_text(encoding="utf-8"):
            sys.exit(f"{model} of {tree} failed: {done.stderr.strip()[-500:]}")


def images(model: str, folder: Path) -> Iterator[Path]:
    """The model's cases, those of an archive written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = CASES[model]
    if isinstance(cases, list):
        yield from (DATA / case for case in cases)
        return
    with np.load(DATA / cases) as archive:
        known = list(archive["test_images"][:3])
    for number, array in enumerate([*known, 255 - known[0].swapaxes(0, 1)]):
        flat = array.ndim == 2 or array.shape[-1] == 3
        image = sitk.GetImageFromArray(array if flat else array.T, isVector=flat and array.ndim == 3)
        path = folder / f"{model}_{number}{'.png' if flat else '.nii.gz'}"
        sitk.WriteImage(image, str(path))
        yield path


def compared(before: Path, after: Path) -> Iterator[tuple[str, bool]]:
    """What to say of each case and file, and whether it is equal."""
    rows, others = _rows(before), _rows(after)
    for case in sorted({*rows, *others}):
        one, two = rows.get(case, {}), others.get(case, {})
        changed = [f"{key} {one.get(key)} -> {two.get(key)}" for key in one | two if one.get(key) != two.get(key)]
        yield f"{case}: {'; '.join(changed) or 'summary equal'}", not changed
    names, new_names = _files(before), _files(after)
    for name in sorted(names | new_names):
        if name not in names or name not in new_names:
            yield f"{name}: only {'before' if name in names else 'after'}", False
        else:
            difference = _difference(before / name, after / name)
            yield f"{name}: {difference or 'equal'}", not difference


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What the summary says of each case, by id."""
    text = (folder / "summary.json").read_text(encoding="utf-8")
    rows = json.loads(re.sub(r"/\S*/(?=\S)", "", text))["cases"]  # the same folders for all
    return {row["id"]: {key: value for key, value in row.items() if key not in NAMES_A_RUN} for row in rows}


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.endswith((".nii.gz", ".png"))}


def _difference(before: Path, after: Path) -> str:
    image, other = sitk.ReadImage(str(before)), sitk.ReadImage(str(after))
    if _grid(image) != _grid(other):
        return f"{_grid(image)} -> {_grid(other)}"
    a, b = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(other)
    if a.tobytes() == b.tobytes():
        return ""
    largest = np.nanmax(np.abs(a.astype(np.float64) - b))
    return f"{np.count_nonzero(a != b)} of {a.size} values differ, by {largest:.3g} at most"


def _grid(image: Any) -> tuple[Any, ...]:
    return image.GetPixelIDTypeAsString(), image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


if __name__ == "__main__":
    sys.exit(main())
