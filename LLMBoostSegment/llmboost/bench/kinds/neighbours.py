"""Ideas of neighbouring systems, each a short trial on the shipped host: trained alike, measured on val.

An idea that earns its place moves into the host; the others leave with this module, their rows stay in the README.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.schedulers.ddim import DDIMScheduler
from monai.networks.utils import one_hot
from torch import Tensor, nn

from ...learn.augment import IMAGE, LABEL
from ...learn.dataset import read_dataset
from ...learn.loss import IGNORED
from ...learn.plan import make_plan
from ...learn.trainer import Trainer, TrainingConfig, mean_dice_of, read_volume
from ...networks.hybrid_vit import HybridAttention, HybridViT, HybridViTConfig, MultiScaleFusion, Size, kernel_of
from ...networks.tap import to_grid, to_tokens
from . import Context, Measure, segmentation, settings_of

MEASURES = (Measure("dice", "Dice on val"),)


@dataclass(frozen=True)
class Settings:
    """Settings of a row; ``idea``: a name in ``NETWORKS``, ``affine-views``, ``diffusion`` or ``none``."""

    data: str
    idea: str = "none"
    steps: int = 150
    rate: float = 1e-3
    validations: int = 3
    fraction: float = 0.3
    sides: int = 1


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Train on a part of the train split; the best of the validations is measured on val, on the network's grid."""
    settings = settings_of(row, Settings)
    whole = segmentation.Settings(settings.data, sides=settings.sides)
    dataset = segmentation.dataset_of(whole, context)
    part = read_dataset(segmentation.part_of(dataset, settings.fraction, row["seed"], context.folder / "data"))
    plan = make_plan(part, part.split("train"))
    config = TrainingConfig(
        steps=settings.steps,
        rate=settings.rate,
        validations=settings.validations,
        seed=row["seed"],
        batch=plan.batch,
    )
    torch.manual_seed(row["seed"])
    host = HybridViTConfig(classes=len(part.labels) + 1, strides=plan.strides)
    network = NETWORKS.get(settings.idea, HybridViT)(host)
    train = [read_volume(part, case, plan.preprocessing) for case in part.split("train")]
    val = [read_volume(part, case, plan.preprocessing) for case in part.split("val")]

    where = context.folder / "run", context.device, context.report
    trainer = TrialTrainer(network, train, val, plan.preprocessing, config, *where)
    if settings.idea == "affine-views":
        trainer.regularizers = [AffineConsistency(row["seed"])]
    outcome = trainer.run()
    network.load_state_dict(outcome.state)
    network.eval()
    seconds = outcome.seconds
    if settings.idea == "diffusion":
        refiner = Refiner(network, host)
        outcome = RefinerTrainer(refiner, train, val, plan.preprocessing, replace(config, validations=1), *where).run()
        refiner.refine.load_state_dict(
            {name.removeprefix("refine."): tensor for name, tensor in outcome.state.items() if "refine." in name}
        )
        network, seconds = refiner.eval(), seconds + outcome.seconds
    shutil.rmtree(part.folder)
    return {
        "val": outcome.dice,
        "cases": [
            {
                "id": volume.id,
                "subject": dataset.subjects[volume.id],
                "dice": _mean(mean_dice_of(network, volume, plan.preprocessing)),
            }
            for volume in val
        ],
        "numbers": {
            "training (min)": round(seconds / 60, 1),
            "weights (M)": round(sum(p.numel() for p in network.parameters()) / 1e6, 3),
        },
    }


class TrialTrainer(Trainer):
    """Writes no checkpoints: a row that was stopped begins anew."""

    def _checkpoint(self) -> None:
        pass


def _mean(scores: list[float]) -> float:
    known = [score for score in scores if score == score]
    return sum(known) / len(known)


# -- MERIT: a loss over all subsets of the stages' outputs -------------------------------------------------------------


class SummedStages(HybridViT):
    """The option that came of this idea, see ``sum_levels`` of :class:`...networks.hybrid_vit.HybridViTConfig`."""

    def __init__(self, config: HybridViTConfig) -> None:
        super().__init__(replace(config, sum_levels=True))


# -- MedT: gated axial attention ---------------------------------------------------------------------------------------


class GatedAxialAttention(nn.Module):
    """Attention along one axis of the token grid, with gated relative positions of queries, keys and values.

    MedT (Valanarasu et al. 2021, arXiv 2102.10662); gates begin at 0.1 and learn from the start.
    """

    LONGEST = 32

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.relative = nn.Parameter(torch.randn(3, 2 * self.LONGEST - 1, width // heads) * (heads / width) ** 0.5)
        self.gates = nn.Parameter(torch.tensor([0.1, 0.1, 0.1]))

    def forward(self, x: Tensor) -> Tensor:
        """(lines, length, width) to the same."""
        n = x.shape[1]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        places = torch.arange(n, device=x.device)
        rq, rk, rv = self.relative[:, places[:, None] - places + self.LONGEST - 1]  # each (length, length, head)
        gq, gk, gv = self.gates
        scores = q @ k.transpose(-2, -1)
        scores = scores + gq * torch.einsum("bhic,ijc->bhij", q, rq) + gk * torch.einsum("bhjc,ijc->bhij", k, rk)
        attention = (scores / q.shape[-1] ** 0.5).softmax(dim=-1)
        out = attention @ v + gv * torch.einsum("bhij,ijc->bhic", attention, rv)
        return out.transpose(1, 2).flatten(2)


class AxialHybridAttention(HybridAttention):
    """The global half of :class:`HybridAttention` by axial attention, one axis after the other."""

    def __init__(self, width: int, heads: int, kernel: Size) -> None:
        super().__init__(width, heads, kernel)
        del self.qkv
        self.axes = nn.ModuleList(GatedAxialAttention(width, heads) for _ in range(3))

    def forward(self, tokens: Tensor, grid: Tensor) -> Tensor:
        x = to_grid(tokens, grid)
        for axis, attention in enumerate(self.axes, 2):
            lines = x.movedim(axis, -1).movedim(1, -1)  # (B, others..., length, width)
            x = x + attention(lines.flatten(0, 2)).view(lines.shape).movedim(-1, 1).movedim(-1, axis)
        nearby = to_tokens(self.local(to_grid(tokens, grid)))
        gate = self.gate(tokens).sigmoid()
        return self.out(gate * to_tokens(x) + (1 - gate) * nearby)


class AxialViT(HybridViT):
    def __init__(self, config: HybridViTConfig) -> None:
        super().__init__(config)
        for block in self.transformer:
            cast(Any, block).attention = AxialHybridAttention(config.width, config.heads, kernel_of(self.stride))


# -- seUNet-Trans: position-free tokens of all scales with spatial-reduction attention ---------------------------------


class ReducedBlock(nn.Module):
    """A transformer block whose keys and values come from a grid half as fine (spatial-reduction attention)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm_reduced = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.reduce = nn.Conv3d(width, width, 2, 2)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        normed = self.norm1(tokens)
        reduced = self.norm_reduced(to_tokens(self.reduce(to_grid(normed, x))))
        tokens = tokens + self.attention(normed, reduced, reduced, need_weights=False)[0]
        return to_grid(tokens + self.mlp(self.norm2(tokens)), x)


class Bridge(MultiScaleFusion):
    """Stacks the stem's levels at the coarsest one's resolution and adds what attention makes of them to its skip.

    seUNet-Trans (Pham et al. 2023, arXiv 2310.09998).
    """

    def __init__(self, stem: tuple[int, ...], width: int, kernel: Size) -> None:
        super().__init__(stem, width, kernel)
        self.embed = nn.Conv3d(sum(stem), stem[-1], 1)
        self.blocks = nn.Sequential(ReducedBlock(stem[-1], 4), ReducedBlock(stem[-1], 4))
        self.add = nn.Conv3d(stem[-1], stem[-1], 1)
        nn.init.zeros_(self.add.weight)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        r, a, s = skips[-1].shape[2:]
        stacked = torch.cat([F.adaptive_avg_pool3d(skip, (r, a, s)) for skip in skips], dim=1)
        skips[-1] = skips[-1] + self.add(self.blocks(self.embed(stacked)))
        return super().forward(x, skips)


class BridgedViT(HybridViT):
    def __init__(self, config: HybridViTConfig) -> None:
        super().__init__(config)
        self.fusion = Bridge(config.stem, config.width, kernel_of(self.stride))


# -- CA-GANformer: tokens re-sampled where they tell classes apart -----------------------------------------------------


class ClassAwareFusion(MultiScaleFusion):
    """Tokens move, in two rounds, to places of the stem's coarsest level that they choose themselves.

    The class-aware transformer of CASTformer (You et al. 2022, arXiv 2201.10737), without its adversarial loss.
    """

    ROUNDS = 2

    def __init__(self, stem: tuple[int, ...], width: int, kernel: Size) -> None:
        super().__init__(stem, width, kernel)
        self.embed = nn.Linear(stem[-1] + 3, width)
        self.block = nn.TransformerEncoderLayer(
            width, 5, 2 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.move = nn.Linear(width, 3)
        self.add = nn.Linear(width, width)
        nn.init.zeros_(self.move.weight)
        nn.init.zeros_(self.move.bias)
        nn.init.zeros_(self.add.weight)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        fine, tokens = skips[-1], to_tokens(x)
        theta = torch.eye(3, 4, device=x.device).expand(len(x), -1, -1)
        place = F.affine_grid(theta, list(x.shape), align_corners=False)  # (B, r, a, s, 3)
        for _ in range(self.ROUNDS):
            sampled = to_tokens(F.grid_sample(fine, place, align_corners=False))
            where = place.flatten(1, 3)
            tokens = self.block(tokens + self.embed(torch.cat([sampled, where], dim=-1)))
            place = (where + 0.3 * self.move(tokens).tanh()).view(place.shape)
        return super().forward(x + to_grid(self.add(tokens), x), skips)


class ClassAwareViT(HybridViT):
    def __init__(self, config: HybridViTConfig) -> None:
        super().__init__(config)
        self.fusion = ClassAwareFusion(config.stem, config.width, kernel_of(self.stride))


# -- AC-Former: affine views that must agree ---------------------------------------------------------------------------


class AffineConsistency:
    """Answers to an affine view of the windows must be the views of the answers.

    AC-Former (Huang et al. 2023, arXiv 2310.14154) predicts the matrices; these are drawn from its bounds' inner half.
    """

    def __init__(self, seed: int, weight: float = 1.0) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.weight = weight

    def __call__(self, network: nn.Module, batch: dict[str, Tensor], levels: list[Tensor]) -> Tensor:
        image, answer = batch[IMAGE], levels[0].softmax(dim=1)
        theta = torch.zeros(len(image), 3, 4)
        theta[:, :, :3] = torch.diag_embed(0.7 + 0.6 * torch.rand(len(image), 3, generator=self.random))
        theta[:, :, :3] += 0.15 * torch.randn(len(image), 3, 3, generator=self.random)
        theta[:, :, 3] = 0.3 * (torch.rand(len(image), 3, generator=self.random) - 0.5)
        grid = F.affine_grid(theta.to(image.device), list(image.shape), align_corners=False)
        seen = F.grid_sample(image, grid, align_corners=False, padding_mode="border")
        inside = (grid.abs().amax(dim=-1, keepdim=True) <= 1).movedim(-1, 1)
        expected = F.grid_sample(answer, grid, align_corners=False)
        found = network(seen).softmax(dim=1)
        return self.weight * ((found - expected).square().sum(dim=1, keepdim=True) * inside).sum() / inside.sum()


# -- MedSegDiff-V2: a short diffusion, anchored on uncertain voxels ----------------------------------------------------


class Refiner(nn.Module):
    """Refines the frozen ``host``'s answer where it is unsure, by a diffusion of four steps (mean of two samples).

    After MedSegDiff-V2 (Wu et al. 2023, arXiv 2301.11798): the host's probabilities are the anchor. Without its
    transformer in the spectrum.
    """

    SURE, STEPS, SAMPLES = 0.9, 4, 2

    def __init__(self, host: HybridViT, config: HybridViTConfig) -> None:
        super().__init__()
        self.config, self.booster = config, None
        self.host = host.requires_grad_(False)
        self.classes = config.classes
        self.refine = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=config.channels + 2 * config.classes,
            out_channels=config.classes,
            num_res_blocks=(1, 1, 1),
            channels=(8, 16, 32),
            attention_levels=(False, False, False),
            norm_num_groups=8,
        )
        self.scheduler = DDIMScheduler(num_train_timesteps=100, prediction_type="sample")

    def train(self, mode: bool = True) -> Refiner:
        super().train(mode)
        self.host.eval()
        return self

    @property
    def stride(self) -> Size:
        return self.host.stride

    def denoised(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """For training: the logits that a noised reference is refined to, and the anchor."""
        anchor = self.host(image).softmax(dim=1)
        start = 2 * one_hot(label.clamp(min=0), self.classes) - 1
        t = torch.randint(0, 100, (len(image),))
        noisy = self.scheduler.add_noise(start, torch.randn_like(start), t)
        return self.refine(torch.cat([image, anchor, noisy], dim=1), t.to(image.device)), anchor

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        anchor = self.host(image).softmax(dim=1)
        self.scheduler.set_timesteps(self.STEPS)
        random = torch.Generator().manual_seed(0)
        total = torch.zeros_like(anchor)
        for _ in range(self.SAMPLES):
            x = torch.randn(anchor.shape, generator=random).to(anchor)
            for t in self.scheduler.timesteps:
                found = self.refine(torch.cat([image, anchor, x], dim=1), t.expand(len(image)).to(image.device))
                x, _ = self.scheduler.step(2 * found.softmax(dim=1) - 1, int(t), x)
            total += found.softmax(dim=1)
        unsure = anchor.amax(dim=1, keepdim=True) < self.SURE
        return torch.where(unsure, total / self.SAMPLES, anchor).clamp(min=1e-6).log()


class RefinerTrainer(TrialTrainer):
    """The usual loss of the refined answer, over the voxels at which the anchor is unsure."""

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        label = batch[LABEL].long()
        refined, anchor = cast(Any, self.network).denoised(batch[IMAGE], label)
        unsure = anchor.amax(dim=1, keepdim=True) < Refiner.SURE
        return self.loss([refined], torch.where(unsure, label, IGNORED))


NETWORKS: dict[str, Any] = {
    "stage-subsets": SummedStages,
    "axial": AxialViT,
    "reduced": BridgedViT,
    "class-aware": ClassAwareViT,
}
