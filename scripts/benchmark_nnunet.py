"""What a model of nnU-Net's takes here and in nnU-Net itself: `.venv/bin/python scripts/benchmark_nnunet.py RESULTS
IMAGE [IMAGE ...]`.

RESULTS is a configuration's folder that nnU-Net v2 trained, of one fold 0 and one channel. Each image is segmented by
`nnUNetv2_predict_from_modelfolder` and by `llmboost segment` with the imported model, from file to file in a process of
its own, and then by both with the model in memory, as nnU-Net's predictor and our worker have it: in turns, medians of
seconds, their ratios, peak memory of the largest process, and how many voxels differ. Needs `pip install nnunetv2`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from llmboost.bench.footprint import measured
from llmboost.bench.nnunet import TRAINERS
from llmboost.foreign import import_foreign
from llmboost.inference.segment import segment
from llmboost.io.image import read_image, write_image
from llmboost.library import find
from llmboost.model import load_model

REPEATS = 3
NAME = "benchmark-nnunet"


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    results, images = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    with tempfile.TemporaryDirectory() as temporary:
        os.environ |= {"LLMBOOST_MODELS": temporary, "nnUNet_extTrainer": str(TRAINERS)}  # it may be the bench's
        import_foreign(results, terms="not told", folds="0", name=NAME)
        for image in images:
            folder = Path(temporary, image.name)
            (folder / "in").mkdir(parents=True)
            write_image(read_image(image), folder / "in" / "case_0000.nii.gz")
            files(results, image, folder)
            in_memory(results, image)


def files(results: Path, image: Path, folder: Path) -> None:
    """From file to file, in processes of their own."""
    program = Path(sys.executable).parent / "nnUNetv2_predict_from_modelfolder"
    where: list[str | Path] = ["-i", folder / "in", "-o", folder / "theirs", "-m", results]
    theirs = [program, *where, "-f", "0", "--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1"]
    place: list[str | Path] = ["--output", folder / "ours", "--format", "nii.gz", "--overwrite", "--device", "cpu"]
    ours = [sys.executable, "-m", "llmboost", "segment", folder / "in" / "case_0000.nii.gz", "--model", NAME, *place]
    found = [(measured(theirs), measured(ours)) for _ in range(REPEATS)]
    peaks = [max(one[n][1] for one in found) for n in (0, 1)]
    tell(image, "from file to file", [(one[0], other[0]) for one, other in found])
    print(f"{image.name}: largest process {peaks[0]:.2f} GB and {peaks[1]:.2f} GB", flush=True)
    labels = [read_image(next((folder / one).glob("*.nii.gz"))).array for one in ("theirs", "ours")]
    print(f"{image.name}: {int((labels[0] != labels[1]).sum())} of {labels[0].size} voxels differ", flush=True)


def in_memory(results: Path, image: Path) -> None:
    """With the model in memory, from image to labels."""
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(results), (0,), "checkpoint_final.pth")
    model, read = load_model(find(NAME)), read_image(image)
    array = read.array.transpose()[None].astype(np.float32)
    properties = {"spacing": list(read.spacing)[::-1]}
    pairs = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        predictor.predict_single_npy_array(array, properties)
        middle = time.perf_counter()
        segment(model, [read])
        pairs.append((middle - started, time.perf_counter() - middle))
    tell(image, "with the model in memory", pairs[1:])


def tell(image: Path, how: str, pairs: list[tuple[float, float]]) -> None:
    """Medians of both, theirs first."""
    theirs, ours = (statistics.median(one) for one in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    print(
        f"{image.name}, {how}: nnU-Net {theirs:.2f} s, LLMBoost {ours:.2f} s, ratio {ratio:.2f} ({len(pairs)} times,"
        f" {torch.get_num_threads()} threads)",
        flush=True,
    )


if __name__ == "__main__":
    main()
