"""What segmenting costs beyond the network itself: `.venv/bin/python scripts/benchmark_segment.py [MODEL] [IMAGE...]`.

Prints the seconds of `segment` (from an image in memory to a label map on its grid) over those of the bare network on
the same windows, both after warm-up and interleaved in one run. Without images, a random one as large as the model's
window is used.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from llmboost.inference.segment import segment
from llmboost.io.image import Image, read_image
from llmboost.library import find
from llmboost.model import Model, load_model

REPEATS = 15


def main() -> None:
    model = load_model(find(sys.argv[1] if len(sys.argv) > 1 else "hippocampus"))
    for path in sys.argv[2:]:
        _compare(Path(path).name, model, read_image(path))
    if len(sys.argv) <= 2:
        noise = np.random.default_rng(0).normal(size=model.card.preprocessing.patch_size).astype(np.float32)
        _compare("noise", model, Image(noise, model.card.preprocessing.spacing, (0.0, 0.0, 0.0), np.diag([-1, -1, 1])))


def _compare(name: str, model: Model, image: Image) -> None:
    windows: list[torch.Tensor] = []
    handle = model.network.register_forward_pre_hook(lambda _, inputs: windows.append(inputs[0].clone()))
    segment(model, [image])
    handle.remove()
    whole, bare = [], []
    with torch.inference_mode():
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            segment(model, [image])
            middle = time.perf_counter()
            for patch_size in windows:
                model.network(patch_size)
            whole.append(middle - started)
            bare.append(time.perf_counter() - middle)
    # the first of each is warm-up
    seconds, network = statistics.median(whole[1:]), statistics.median(bare[1:])
    print(
        f"{name}: {image.shape} voxels, {len(windows)} window(s), segment {seconds:.3f} s, network {network:.3f} s,"
        f" ratio {seconds / network:.2f} (medians of {REPEATS}, {torch.get_num_threads()} threads)"
    )


if __name__ == "__main__":
    main()
