"""In which numbers a device trains, and what stays float32."""

import json

import pytest
import torch

from llmboost.booster.block import RMSNorm
from llmboost.errors import LLMBoostError
from llmboost.inference.predict import predict
from llmboost.learn import precision as precision_module
from llmboost.learn.augment import IMAGE, LABEL
from llmboost.learn.patches import TrainingPatches
from llmboost.learn.precision import computing, training_dtype
from llmboost.learn.regularizers import Consistency, Distillation
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.trainer import LOG, Progress, Trainer, TrainingConfig

from .training_samples import STEPS

CPU = torch.device("cpu")


def set_capabilities(monkeypatch, **capabilities):
    monkeypatch.setattr(precision_module.torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.fixture(params=["amx_bf16", "avx512_bf16"])
def cpu_with_bfloat16(monkeypatch, request):
    set_capabilities(monkeypatch, **{request.param: True})


@pytest.fixture
def cpu_without_bfloat16(monkeypatch):
    set_capabilities(monkeypatch, amx_bf16=False, avx512_bf16=False)


@pytest.fixture
def make_trainer(tmp_path, volumes, tiny_network):
    def make(network=None, folder="run", **config):
        config = TrainingConfig(**{"steps": 2, "validations": 1, **config})
        task = SegmentationTask(volumes[0], volumes[1][:1], STEPS, config)
        return Trainer(network or tiny_network(), task, tmp_path / folder, CPU)

    return make


def test_a_cpu_that_multiplies_bfloat16_trains_in_bfloat16(cpu_with_bfloat16):
    assert training_dtype(CPU) == torch.bfloat16
    assert training_dtype(CPU, "float32") == torch.float32
    assert training_dtype(torch.device("cuda")) == torch.float16
    assert training_dtype(torch.device("cuda"), "float32") == torch.float32


def test_another_cpu_trains_in_float32(cpu_without_bfloat16):
    assert training_dtype(CPU) == torch.float32


def test_another_precision():
    with pytest.raises(ValueError, match="'half' is none of auto, float32"):
        training_dtype(CPU, "half")


def watched(network):
    """The network, and a set of what its answers are of, which grows."""
    seen = set()
    network.heads[0].register_forward_hook(lambda module, inputs, logits: seen.add(logits.dtype))
    return network, seen


def test_layers_learn_in_bfloat16_and_the_rest_is_float32(make_trainer, tiny_network, cpu_with_bfloat16, tmp_path):
    network, seen = watched(tiny_network())
    trainer = make_trainer(network)
    outcome = trainer.run()
    assert seen == {torch.bfloat16}
    assert {tensor.dtype for tensor in outcome.state.values()} == {torch.float32}
    assert all(t.dtype == torch.float32 for state in trainer.learner.optimizer.state.values() for t in state.values())
    first = json.loads((tmp_path / "run" / LOG).read_text().splitlines()[0])
    assert (first["event"], first["precision"], first["device"]) == ("start", "bfloat16", "cpu")


def test_what_users_get_is_computed_in_float32(tiny_network, volumes, cpu_with_bfloat16):
    network, seen = watched(tiny_network())
    assert predict(network, volumes[1][0].image, STEPS.patch_size).dtype == torch.float32
    assert seen == {torch.float32}


def test_a_training_does_not_change_its_precision_unasked(make_trainer, cpu_with_bfloat16, monkeypatch):
    make_trainer().run()
    make_trainer().resume()
    monkeypatch.setattr(precision_module.torch.cpu, "get_capabilities", dict)
    with pytest.raises(LLMBoostError, match="precision on this device: bfloat16 then, float32 now"):
        make_trainer().resume()


def gradients(network, loss_of, dtype):
    network.zero_grad()
    torch.manual_seed(0)
    with computing(CPU, dtype):
        loss = loss_of()
    assert loss.dtype == torch.float32
    loss.backward()
    found = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return loss.item(), torch.cat([gradient.flatten() for gradient in found])


def assert_alike(network, loss_of):
    """In bfloat16, a loss has the same value and gradient but for rounding."""
    (exact, expected), (loss, found) = (gradients(network, loss_of, t) for t in (torch.float32, torch.bfloat16))
    assert loss == pytest.approx(exact, rel=0.02)
    assert torch.cosine_similarity(expected, found, dim=0) > 0.97
    assert found.norm() == pytest.approx(float(expected.norm()), rel=0.1)


@pytest.mark.parametrize("regularizer", ["none", "distillation", "consistency"])
def test_segmenters_learn_the_same(tiny_network, volumes, regularizer):
    network = tiny_network()
    patches = TrainingPatches(volumes[0], STEPS, 4, 0)
    added = {
        "none": [],
        "distillation": [Distillation(tiny_network(seed=1), 1.0)],
        "consistency": [Consistency(patches, 1.0)],
    }[regularizer]
    task = SegmentationTask(volumes[0], [], STEPS, TrainingConfig(steps=4), regularizers=added)
    batch = {name: torch.stack([patches[n][name] for n in range(2)]) for name in (IMAGE, LABEL)}
    assert_alike(network, lambda: task.loss(network, batch, Progress(2, 0.5)))


def test_a_language_models_norm_in_bfloat16(recwarn):
    norm = RMSNorm(64, 1e-5)
    x = torch.randn(3, 64)
    found = norm(x.bfloat16())
    assert found.dtype == torch.bfloat16, "what follows computes in it, too"
    torch.testing.assert_close(found.float(), norm(x), rtol=0.02, atol=0.02)
    assert not len(recwarn), "torch has a fused step for it"


def test_convolutions_may_name_their_arguments():
    """As MONAI's smoothing does; of one axis shorter than the kernel and of a long one."""
    kernel = torch.ones(1, 1, 3)
    with computing(torch.device("cpu"), torch.bfloat16):
        for size in (2, 20):
            image = torch.ones(1, 1, size)
            named = torch.nn.functional.conv1d(input=image, weight=kernel, padding=1)
            assert torch.equal(named, torch.nn.functional.conv1d(image, kernel, padding=1))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [((2, 2, 2), 3, 1), ((2, 8, 8), 3, 1), ((4, 4, 1), 3, 2), ((2, 16, 16), (3, 3, 1), 1), ((5, 8, 8), 7, 1)],
)
def test_gradients_of_small_grids_in_bfloat16(size, kernel, stride):
    torch.manual_seed(0)
    taps = (kernel,) * 3 if isinstance(kernel, int) else kernel
    layer = torch.nn.Conv3d(16, 16, kernel, stride, padding=tuple(n // 2 for n in taps))
    images = torch.randn(8, 2, 16, *size)
    for image in images:
        assert_alike(layer, lambda image=image: layer(image).float().square().mean())
        del image
        torch.full((100_000,), 1e30)  # what the next one finds in memory that nobody wrote
