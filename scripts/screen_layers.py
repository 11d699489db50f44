"""Which layer of SmolLM2 to boost with: `.venv/bin/python scripts/screen_layers.py MODEL DATASET`.

Takes the tokens that reach the booster's place in MODEL (a segmenter, with or without a booster) on the first cases for
validation of DATASET, and prints what each layer makes of them, without any training: layers that squeeze tokens into
few directions have little to give. The network's own tokens come first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from llmboost.booster.screening import effective_rank, screen
from llmboost.booster.smollm2 import NATURAL_RMS
from llmboost.inference.segment import segment
from llmboost.io.dataset import load, read_dataset
from llmboost.library import find
from llmboost.model import load_model
from llmboost.networks.tap import to_tokens

CASES = 4


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    model, dataset = load_model(find(sys.argv[1])), read_dataset(Path(sys.argv[2]))
    network: Any = model.network
    with network.before_booster.listen() as grids:
        for case in dataset.split("val")[:CASES]:
            segment(model, load(case)[0])
    tokens = torch.cat([to_tokens(grid.detach()) for grid in grids])
    print(
        f"{len(tokens)} windows of {tokens.shape[1]} tokens, effective rank {effective_rank(tokens.flatten(0, 1)):.1f}"
    )
    print("layer  rank  of the update  strongest channel  told apart")
    for found in screen(tokens, "smollm2", range(len(NATURAL_RMS))):
        print(
            f"{found.layer:5d} {found.rank:5.1f} {found.update_rank:14.1f} {found.channel:18.1%} {found.kept:11.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
