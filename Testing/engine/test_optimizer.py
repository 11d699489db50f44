"""How weights move: orthogonal steps for kernels and matrices, AdamW's for all else."""

import pytest
import torch
from torch import nn

from llmboost.learn.adaptation.lora import AdapterConfig, inject
from llmboost.learn.optimizer import make_optimizer, orthogonal
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.trainer import Trainer, TrainingConfig

from .training_samples import STEPS, losses_of

RATE, DECAY = 1e-3, 0.1


def with_gradients(network, seed):
    """The network with random gradients for what is trained of it."""
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random) if parameter.requires_grad else None
    return network


def moved(network, optimizer, steps=3):
    """How each parameter moved, by name."""
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for seed in range(steps):
        with_gradients(network, seed)
        optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("shape", [(16, 16), (12, 200), (200, 12), (64, 65), (5, 1000)], ids=str)
def test_nearly_orthogonal(shape):
    matrix = 1e-3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.25
    # of a square matrix, a few directions are too weak
    assert values.quantile(0.1) > 0.3
    if max(shape) > 2 * min(shape):
        assert values.min() > 0.6
    # the same singular vectors: what is left of the matrix in them is symmetric and positive
    assert torch.linalg.svdvals(matrix).sum() == pytest.approx(float((found * matrix).sum()), rel=0.3)


def test_a_matrix_that_knows_few_directions_goes_no_others():
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(48, 2, generator=random) @ torch.randn(2, 300, generator=random)
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values[1] > 0.6
    assert values[2] < 1e-2
    assert torch.equal(orthogonal(torch.zeros(8, 8)), torch.zeros(8, 8))


def test_kernels_move_by_orthogonal_steps():
    torch.manual_seed(0)
    kernel = nn.Conv3d(8, 16, 3)
    before = kernel.weight.detach().clone()
    optimizer = make_optimizer(kernel, "muon", RATE, 0.0, 8.0)
    with_gradients(kernel, 0)
    optimizer.step()
    step = (before - kernel.weight.detach()).reshape(16, -1) / (8 * RATE)
    values = torch.linalg.svdvals(step)
    assert values.min() > 0.6
    assert values.max() < 1.25
    # a tall matrix's steps are longer, and weights decay beside them
    tall = nn.Linear(8, 32, bias=False)
    before = tall.weight.detach().clone()
    optimizer = make_optimizer(tall, "muon", RATE, DECAY, 8.0)
    with_gradients(tall, 0)
    optimizer.step()
    step = (before * (1 - 8 * RATE * DECAY) - tall.weight.detach()) / (8 * RATE)
    values = torch.linalg.svdvals(step) / 2
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_all_else_moves_as_adamw_moves_it(tiny_network):
    network, other = tiny_network(), tiny_network()
    steps = moved(network, make_optimizer(network, "muon", RATE, DECAY, 8.0))
    expected = moved(other, make_optimizer(other, "adamw", RATE, DECAY, 8.0))
    few = [name for name, p in network.named_parameters() if p.ndim < 2 or min(len(p), p[0].numel()) <= 4]
    assert any(name.startswith("heads.") and name.endswith("weight") for name in few)
    assert any(name.endswith("bias") for name in few)
    for name, step in steps.items():
        assert torch.equal(step, expected[name]) == (name in few), name
        assert step.abs().max() > 0


def test_adamw_decays_what_is_no_norm_and_no_bias(tiny_network):
    network, other = tiny_network(), tiny_network()
    steps = moved(network, make_optimizer(network, "adamw", RATE, DECAY, 8.0))
    expected = moved(other, torch.optim.AdamW(other.parameters(), RATE, weight_decay=DECAY))
    for name, parameter in network.named_parameters():
        assert torch.equal(steps[name], expected[name]) == (parameter.ndim > 1 or not parameter.any()), name


def test_low_rank_updates_move_as_adamw_moves_them(tiny_network):
    networks = [tiny_network(), tiny_network()]
    for network in networks:
        torch.manual_seed(1)
        inject(network, AdapterConfig(rank=8))
    steps, expected = (
        moved(network, make_optimizer(network, name, RATE, DECAY, 8.0))
        for network, name in zip(networks, ("muon", "adamw"), strict=True)
    )
    low_rank = [name for name in steps if ".lora_" in name]
    assert low_rank
    for name in low_rank:
        assert torch.equal(steps[name], expected[name]), name
        assert steps[name].abs().max() > 0
    frozen = [name for name, parameter in networks[0].named_parameters() if not parameter.requires_grad]
    assert not any(steps[name].any() for name in frozen)
    # stem and heads are trained whole
    assert any(not torch.equal(steps[name], expected[name]) for name in steps)


def test_another_optimizer():
    with pytest.raises(ValueError, match="'adam' is none of adamw, muon"):
        make_optimizer(nn.Linear(8, 8), "adam", RATE, DECAY, 8.0)


def test_a_training_with_muon_goes_on_as_if_it_had_not_been_stopped(tiny_network, volumes, tmp_path):
    def make(folder, seed=0, **options):
        config = TrainingConfig(steps=6, validations=3, optimizer="muon")
        task = SegmentationTask(volumes[0], volumes[1][:1], STEPS, config)
        return Trainer(tiny_network(seed), task, tmp_path / folder, torch.device("cpu"), **options)

    whole = make("whole")
    losses = losses_of(whole)
    seen = []
    cut = make("cut", cancelled=lambda: len(seen) > 5)
    cut.report = seen.append
    cut.run()
    again = make("cut", seed=5)
    again.resume()
    assert 0 < again.step < 6
    assert losses_of(again) == losses[-2:]
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name
