"""How long adapting takes from its start to its first step: another tree of this repository against this one.

    python scripts/benchmark_adapt_start.py OTHER_TREE [--cases 8] [--size 192] [--rounds 3]

Makes cases of SIZE^3 voxels (16 bits, 1 mm) with two labels from a seed, a small base that knows these labels, and
then adapts it by turns in child processes of one thread: with OTHER_TREE's engine and with this tree's, in the order
other, this, this, other, ... so that neither is favored. What a child tells is its own clocks, from the call to the
first step: seconds, and seconds that the processor was at work, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BASE = """
import sys, torch
from pathlib import Path
from llmboost.card import SEGMENTATION, Card, Label, Preprocessing
from llmboost.model import save_model
from llmboost.networks import build, describe

torch.manual_seed(0)
network = build("hybrid-vit", {"classes": 3, "width": 32, "depth": 1, "heads": 2, "stem": (8, 16, 16)}, None)
entry, booster = describe(network)
labels = (Label(1, "front", (230, 159, 0)), Label(2, "back", (86, 180, 233)))
steps = Preprocessing(spacing=(2.0, 2.0, 2.0))
card = Card(name="base", title="Base", description="For measuring", task=SEGMENTATION, labels=labels, modality="MRI",
            preprocessing=steps, network=entry, booster=booster, license="CC0")
save_model(network, card, Path(sys.argv[1]))
"""
ADAPT = """
import sys, time, torch
from pathlib import Path
try:
    from llmboost.learn.adaptation.flow import adapt
    from llmboost.learn.adaptation.common import AdaptSettings
except ImportError:  # as the module was called before
    from llmboost.learn.adapt import adapt
    from llmboost.learn.adaptation import AdaptSettings

torch.set_num_threads(1)
started, first = (time.monotonic(), time.process_time()), []
def report(event):
    if event["event"] == "step":
        first.append((time.monotonic() - started[0], time.process_time() - started[1]))
settings = AdaptSettings(steps=1, validations=1)
try:
    adapt(*map(Path, sys.argv[1:4]), settings, device=torch.device("cpu"), report=report)
finally:
    print(*first[0])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    trees = {"other": arguments.other.resolve(), "this": ROOT}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cases(folder / "data", arguments.cases, arguments.size)
        child(trees["other"], BASE, folder / "base.safetensors")
        for number in range(arguments.rounds):
            for name in list(trees)[:: -1 if number % 2 else 1]:
                output = folder / f"{name}_{number}.safetensors"
                told = child(trees[name], ADAPT, folder / "base.safetensors", folder / "data", output)
                seconds[name].append((float(told.split()[0]), float(told.split()[1])))
                print(
                    "round {}, {}: {:.2f} s, {:.2f} s of work".format(number + 1, name, *seconds[name][-1]), flush=True
                )
    print(f"{arguments.cases} cases of {arguments.size}^3, from the start to the first step, medians:")
    for clock, what in enumerate(("seconds", "seconds of work")):
        other, this = (median(one[clock] for one in seconds[name]) for name in trees)
        print(f"{what}: other {other:.2f}, this {this:.2f}, {this / other:.2f} of it")


def child(tree: Path, program: str, *paths: Path) -> str:
    """What ``program`` prints when it is run with the engine of ``tree``."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "LLMBoostSegment"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *map(str, paths)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_cases(folder: Path, count: int, size: int) -> None:
    """A data set folder: a noisy ball in two halves, in another place in each case."""
    sys.path.insert(0, str(ROOT / "LLMBoostSegment"))
    from llmboost.io.image import Image, write_image

    axes = np.ogrid[:size, :size, :size]
    for number in range(count):
        random = np.random.default_rng(number)
        center = size / 2 + random.uniform(-0.1, 0.1, 3) * size
        inside = sum(((axis - middle) / (size / 5)) ** 2 for axis, middle in zip(axes, center, strict=True)) < 1
        labels = inside * np.where(axes[1] < center[1], 1, 2)
        values = 300 * inside + random.normal(200, 40, inside.shape)
        for part, array in (("imagesTr", values.astype(np.int16)), ("labelsTr", labels.astype(np.uint8))):
            (folder / part).mkdir(parents=True, exist_ok=True)
            image = Image(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
            write_image(image, folder / part / f"case_{number}.nii.gz")
    labels_named = {"0": "background", "1": "front", "2": "back"}
    description = {"name": "Balls", "modality": {"0": "MRI"}, "labels": labels_named}
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


if __name__ == "__main__":
    main()
