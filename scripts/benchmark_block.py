"""What a block of a large language model costs on a CPU: `.venv/bin/python scripts/benchmark_block.py`.

Writes one layer in the shape of Llama-3.1-8B (random weights, bf16, 436 MB) as a Hugging Face folder, boosts a
segmenter with it, trains one step on a random image, saves the model and loads it again. Prints seconds and the peak of
memory so far after each; not for Windows.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from llmboost.booster import BoosterConfig
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.card import SEGMENTATION, Card, Label, Preprocessing
from llmboost.learn.loss import SegmentationLoss
from llmboost.model import load_model, save_model
from llmboost.networks import build, describe

SHAPE = BlockShape(width=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336)
WINDOW = (40, 56, 40)


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, window {WINDOW}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with told("language model's layer written"):
            write_layer(folder)
        with told("segmenter boosted with it"):
            network = build("hybrid-vit", {}, BoosterConfig(str(folder)))
        count = sum(p.numel() for p in network.booster.blocks.parameters())  # type: ignore[union-attr, misc]
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        print(f"{count / 1e6:.0f} M weights frozen, {trained / 1e6:.1f} M trained")
        for number in (1, 2):
            with told(f"training step {number}"):
                train_step(network)
        path = folder / "boosted.safetensors"
        with told("model saved"):
            save_model(network, card_of(network), path)
        print(f"model file {path.stat().st_size / 1e6:.0f} MB")
        del network
        with told("model loaded"):
            model = load_model(path)
        with told("one window segmented"), torch.inference_mode():
            model.network(torch.zeros(1, 1, *WINDOW))


@contextmanager
def told(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"{what:32s} {seconds:6.1f} s, peak {peak / 2**20:6.0f} MiB", flush=True)


def write_layer(folder: Path) -> None:
    with torch.device("meta"):
        empty = LanguageModelBlock(SHAPE).state_dict()
    torch.manual_seed(0)

    def weight(like: Tensor) -> Tensor:
        return 0.02 * torch.randn(like.shape, dtype=torch.bfloat16) if like.ndim > 1 else torch.ones(like.shape)

    tensors = {f"model.layers.0.{name}": weight(like) for name, like in empty.items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "llama",
        "hidden_size": SHAPE.width,
        "num_attention_heads": SHAPE.heads,
        "num_key_value_heads": SHAPE.kv_heads,
        "intermediate_size": SHAPE.ffn,
        "num_hidden_layers": 1,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def train_step(network: nn.Module) -> None:
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    image, label = torch.randn(1, 1, *WINDOW), torch.randint(0, 3, (1, 1, *WINDOW))
    loss = SegmentationLoss()(network.deep(image), label)  # type: ignore[operator]
    loss.backward()
    optimizer.step()


def card_of(network: nn.Module) -> Card:
    entry, booster = describe(network)
    labels = (Label(1, "one", (230, 159, 0)), Label(2, "two", (86, 180, 233)))
    steps = Preprocessing(patch_size=WINDOW)
    return Card("boosted", "Boosted", "A benchmark", SEGMENTATION, labels, "any", steps, entry, booster)


if __name__ == "__main__":
    main()
