"""What inference costs beside other people's networks: `.venv/bin/python scripts/benchmark_peers.py [IxJxK ...]`.

Segments a made-up image of each size (a window of the model `hippocampus`, unless given) with that model, with its host
without a booster, and with MONAI's networks as the recipe `peers` trains them: interleaved in one process, medians, as
ratios to DynUNet (nnU-Net's network). Peak memory is that of `llmboost segment` in a process of its own. Weights of the
peers are random: they make no difference here.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from llmboost.bench.footprint import measured
from llmboost.inference.segment import segment
from llmboost.io.image import Image, write_image
from llmboost.library import find
from llmboost.model import Model, load_model, save_model
from llmboost.networks import PEERS, build, describe

REPEATS = 9
REFERENCE = "dynunet"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = _models(Path(folder))
        models = {name: load_model(path) for name, path in paths.items()}
        patch_size = models["hippocampus"].card.preprocessing.patch_size
        for size in sys.argv[1:] or ["x".join(map(str, patch_size))]:
            noise = np.random.default_rng(0).normal(size=[int(n) for n in size.split("x")]).astype(np.float32)
            image = Image(noise, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))
            file = Path(folder) / "image.nii"
            write_image(image, file)
            seconds = _seconds(models, image)
            for name, path in paths.items():
                where: list[str | Path] = ["--output", Path(folder) / name, "--device=cpu"]
                _, peak, _ = measured([sys.executable, "-m", "llmboost", "segment", file, "--model", path, *where])
                weights = sum(p.numel() for p in models[name].network.parameters()) / 1e6
                print(
                    f"{size} {name}: {seconds[name]:.3f} s, {seconds[name] / seconds[REFERENCE]:.2f} times {REFERENCE};"
                    f" peak {peak:.2f} GB; {weights:.1f} M weights but the block's",
                    flush=True,
                )


def _models(folder: Path) -> dict[str, Path]:
    """Files of the shipped model and of the others in its place: the same card but for the network."""
    shipped = find("hippocampus")
    model = load_model(shipped)
    card, patch_size = dataclasses.replace(model.card, cascade=None, quality=None), model.card.preprocessing.patch_size
    host = {key: value for key, value in card.network.items() if key != "name"}
    sizes = {"channels": 1, "classes": card.classes, "image_size": patch_size, "strides": host["strides"]}
    paths = {"hippocampus": folder / "hippocampus.safetensors"}
    save_model(model.network, card, paths["hippocampus"])
    for name, options in {"hybrid-vit": host, **dict.fromkeys(PEERS, sizes)}.items():
        network = build(name, options, None)
        entry, booster = describe(network)
        paths[name] = folder / f"{name}.safetensors"
        save_model(network, dataclasses.replace(card, name=name, network=entry, booster=booster), paths[name])
    return paths


def _seconds(models: dict[str, Model], image: Image) -> dict[str, float]:
    """Medians of CPU time, which other work on the machine hardly changes."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(REPEATS + 1):
        for name, model in models.items():
            started = time.process_time()
            segment(model, [image])
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}  # the first is warm-up


if __name__ == "__main__":
    main()
