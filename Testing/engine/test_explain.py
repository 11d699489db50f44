"""Maps of where a network looked: the methods on token grids, and cases on their own grids."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import nn

from llmboost.booster import Booster, BoosterConfig
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.sources import BlockWeights
from llmboost.card import CLASSIFICATION, Classification, Label, Preprocessing
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.explanation import LAYERS, METHODS, ExplanationSpec
from llmboost.explanation.faithfulness import areas, energy, points_into, randomised
from llmboost.explanation.maps import relevance
from llmboost.inference.explain import explain
from llmboost.inference.explain_segment import segment_relevance
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.inference.watch import Watch
from llmboost.io.image import Image, resample, resample_to_spacing
from llmboost.library import find
from llmboost.model import Model, load_model
from llmboost.networks import build
from llmboost.networks.tap import Tap, to_grid, to_tokens

WINDOW = (24, 32, 24)
NETWORKS = {
    "hybrid-vit": {"stem": (4, 6, 8), "width": 16, "depth": 2, "heads": 2},
    "plain-vit": {"image_size": WINDOW, "width": 16, "depth": 2, "heads": 2},
    "vit3d-tiny": {
        "image_size": WINDOW,
        "stem": (4, 6),
        "width": 16,
        "depth": 2,
        "heads": 2,
        "head_width": 8,
        "mlp": 32,
    },
    "vit3d": {
        "image_size": WINDOW,
        "patch": (8, 8, 8),
        "width": 16,
        "depth": 2,
        "heads": 2,
        "head_width": 8,
        "mlp": 32,
    },
    "vivit-tiny": {
        "image_size": WINDOW,
        "stem": (4, 6),
        "width": 16,
        "depth": 2,
        "heads": 2,
        "head_width": 8,
        "mlp": 32,
    },
}
CLASSIFIERS = ("vit3d-tiny", "vit3d", "vivit-tiny")


def small(name: str, boosted: bool = True, **options) -> nn.Module:
    """A frozen network of random weights, as a model file gives it."""
    torch.manual_seed(0)
    shape = BlockShape(width=32, heads=4, kv_heads=2, head_dim=8, ffn=48)
    weights = BlockWeights(shape, [LanguageModelBlock(shape).state_dict()], 5.0, q4=False, description="small")
    booster = Booster.from_weights(16, BoosterConfig(layers=(0,)), weights).describe() if boosted else None
    network = build(name, {**NETWORKS[name], **options}, booster)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- methods -----------------------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Tokens of two features at each voxel; the output is a weighted sum of the first one, here and there."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.before_booster, self.after_booster = Tap(), Tap()
        self.weights = weights  # (r, a, s)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([images, 5 + 0 * images], dim=1)
        tokens = self.after_booster(self.before_booster(tokens))
        return (tokens[:, :1] * self.weights).sum(dim=(2, 3, 4))


def test_grad_cam_is_gradient_times_difference_from_the_mean_token():
    image, weights = noise(1, 1, 4, 5, 6), noise(4, 5, 6, seed=1)
    found = relevance(Toy(weights), image, "grad-cam", "after", torch.sum)
    torch.testing.assert_close(found[0], (weights * (image - image.mean())[0, 0]).relu())


def test_pooled_grad_cam_is_the_published_one():
    image, weights = noise(1, 1, 4, 5, 6), noise(4, 5, 6, seed=1)
    found = relevance(Toy(weights), image, "grad-cam-pooled", "after", torch.sum)
    torch.testing.assert_close(found[0], (weights.mean() * image[0, 0]).relu())


class Mixer(nn.Module):
    """One attention layer in which every token takes from a chosen one, and a sum over chosen tokens."""

    def __init__(self, source: int, chosen: int, heads: int, how: str) -> None:
        super().__init__()
        self.before_booster, self.after_booster = Tap(), Tap()
        self.source, self.chosen, self.heads, self.how = source, chosen, heads, how

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grid = self.before_booster(images)
        value = to_tokens(grid)  # (B, T, C)
        key = torch.zeros_like(value)
        key[:, self.source] = 30.0
        query = torch.ones_like(value)
        parts = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, value)]
        if self.how == "grouped":
            parts[1:] = [part[:, :1] for part in parts[1:]]
        mixed = nn.functional.scaled_dot_product_attention(*parts, enable_gqa=self.how == "grouped")
        tokens = value + mixed.transpose(1, 2).flatten(2)
        return self.after_booster(to_grid(tokens, images)).flatten(2)[..., self.chosen].sum(dim=1)


@pytest.mark.parametrize("how", ["plain", "grouped"])
def test_rollout_follows_attention_to_where_a_token_took_from(how):
    image = torch.zeros(1, 4, 2, 3, 2)
    image.flatten(2)[..., 7] = 3.0  # the source
    image.flatten(2)[..., 2] = 1.0  # the chosen one
    network = Mixer(source=7, chosen=2, heads=2, how=how)
    after, before = (relevance(network, image, "attention-rollout", layer, torch.sum).flatten() for layer in LAYERS)
    assert after[7] == pytest.approx(after[2].item()), "half of the chosen token's part came from the source"
    assert after[[7, 2]].sum() == pytest.approx(after.sum().item(), rel=1e-4)
    cam = relevance(network, image, "grad-cam", "after", torch.sum).flatten()
    assert after.sum() == pytest.approx(cam.sum().item(), rel=1e-4), "nothing is lost on the way"
    np.testing.assert_allclose(before, relevance(network, image, "grad-cam", "before", torch.sum).flatten())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("method", "layer"), list(itertools.product(METHODS, LAYERS)))
@pytest.mark.parametrize("boosted", [True, False])
def test_every_network_can_be_explained(name, method, layer, boosted):
    network, images = small(name, boosted), noise(2, 1, *WINDOW)
    before = network(images)
    found = relevance(network, images, method, layer, lambda output: output[:, 1].sum())
    assert found.shape == (2, *WINDOW)
    assert found.isfinite().all()
    assert (found >= 0).all()
    reads_class_token = name in ("vit3d", "vivit-tiny")
    if reads_class_token and boosted and layer == "after":  # nothing but the class token is read after it
        assert not found.any()
    else:
        assert found.any()
    one = relevance(network, images[1:], method, layer, lambda output: output[:, 1].sum())
    torch.testing.assert_close(found[1:], one, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(network(images), before)
    assert not any(module._forward_hooks for module in network.modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["hybrid-vit", "plain-vit", "vit3d"])
def test_seeing_attention_changes_nothing(name):
    network, images = small(name), noise(1, 1, *WINDOW)
    outputs = []
    relevance(network, images, "attention-rollout", "before", lambda output: outputs.append(output) or output.sum())
    torch.testing.assert_close(outputs[0].detach(), network(images), rtol=1e-4, atol=1e-4)


def test_networks_without_taps_are_refused():
    with pytest.raises(LLMBoostError, match="token grid"):
        relevance(nn.Linear(2, 2), noise(1, 2), "grad-cam", "after", torch.sum)


def test_a_network_still_learns_after_it_was_explained():
    network, images = small("hybrid-vit").requires_grad_(True), noise(1, 1, *WINDOW)
    relevance(network, images, "attention-rollout", "after", lambda output: output[:, 1].sum())
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.transformer.parameters())


# -- segments ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def segmenter(tiny_network, tiny_card) -> Model:
    """With weights as they come: what a map does in space does not depend on them."""
    network = tiny_network().eval().requires_grad_(False)
    return Model(tiny_card(network), network)


def share(found: np.ndarray, mask: np.ndarray) -> float:
    return float(found[mask].sum() / found.sum())


def test_a_map_of_a_segment(segmenter, make_case):
    image, truth = make_case(120)
    front = truth.with_array(truth.array == 1)
    found = explain(segmenter, [image], reference=front)
    assert (found.target.value, found.method, found.layer) == (1, "grad-cam", "after")
    assert found.map.same_grid(image)
    assert found.map.array.dtype == np.float32
    assert (found.map.array.min(), found.map.array.max()) == (0, 1)
    assert not found.warnings
    again = explain(segmenter, [image], reference=front)
    np.testing.assert_array_equal(again.map.array, found.map.array)
    back = explain(segmenter, [image], ExplanationSpec(2), reference=truth.with_array(truth.array == 2))
    assert back.target.name == "back"
    assert not np.allclose(back.map.array, found.map.array)


def test_by_default_what_the_model_draws_is_explained(segmenter, make_case):
    image = make_case(120)[0]
    drawn = segment(segmenter, [image]).labelmap
    value = int(np.bincount(drawn.array.ravel())[1:].argmax()) + 1
    found = explain(segmenter, [image], ExplanationSpec(value))
    known = explain(segmenter, [image], ExplanationSpec(value), reference=drawn.with_array(drawn.array == value))
    np.testing.assert_allclose(found.map.array, known.map.array, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.8, 1.0, 1.7])] * 3),
    layer=st.sampled_from(LAYERS),
)
def test_the_map_follows_the_image(segmenter, make_case, reordered, axes, flips, angles, spacing, layer, method):
    """However the same voxels are stored, the same place has the same value; also oblique and anisotropic ones."""
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    image, truth = (Image(one.array, spacing, one.origin, turn @ one.direction) for one in make_case(121))
    how = ExplanationSpec(method=method, layer=layer)
    plain = explain(segmenter, [image], how, reference=truth).map
    there = [reordered(one, axes, flips) for one in (image, truth)]
    other = explain(segmenter, there[:1], how, reference=there[1]).map
    np.testing.assert_allclose(reordered(plain, axes, flips).array, other.array, atol=2e-3)


def test_the_map_comes_back_from_the_models_spacing(segmenter, make_case):
    image, truth = make_case(122)
    thin, thin_truth = (
        Image(np.repeat(one.array, 2, axis=2), (1, 1, 0.5), one.origin, one.direction) for one in (image, truth)
    )
    seen = resample_to_spacing(thin, (1, 1, 1))
    known = explain(segmenter, [seen], reference=seen.with_array(truth.array)).map
    found = explain(segmenter, [thin], reference=thin_truth).map
    assert found.same_grid(thin)
    expected = resample(known, thin, "linear").array
    np.testing.assert_allclose(found.array, expected / expected.max(), atol=1e-3)


def test_large_volumes_are_explained_window_by_window(segmenter, make_case):
    """A segment at one end of a long image: what is far from it gets nothing."""
    image, truth = make_case(123)
    long, mask = np.zeros((2, 96, *image.shape[1:]), np.float32)
    long[:24], mask[:24] = image.array, truth.array == 1
    first = Image(long, image.spacing, image.origin, image.direction)
    asked: list[float] = []
    found = explain(segmenter, [first], reference=first.with_array(mask), watch=Watch(asked.append)).map.array
    assert asked == sorted(asked)
    assert asked[-1] == 1
    assert found[:24].max() == 1
    assert not found[60:].any()


def test_a_region_of_interest(segmenter, make_case):
    image, truth = make_case(124)
    center = image.affine @ [12, 14, 12, 1]
    box = Roi(center[:3], (18, 22, 20))
    found = explain(segmenter, [image], reference=truth, roi=box).map
    assert found.array.max() == 1
    assert not found.array[~box.contains(image)].any()
    alone = explain(segmenter, [box.crop(image)], reference=box.crop(truth)).map
    np.testing.assert_allclose(box.crop(found).array, alone.array, atol=1e-6)


def test_nothing_drawn_nothing_explained(segmenter, make_case):
    image = make_case(125)[0]
    found = explain(segmenter, [image], ExplanationSpec(2), reference=image.with_array(np.zeros(image.shape, np.uint8)))
    assert not found.map.array.any()
    assert found.warnings == ("back: not found, so there is nothing to explain",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "gradcam"}, "method 'gradcam' of explanation is unknown; use one of grad-cam, attention-rollout"),
        ({"layer": "middle"}, "layer 'middle'"),
        ({"target": 9}, r"nothing of value 9 to explain; choose one of 1 \(front\), 2 \(back\)"),
        ({"target": 0}, "nothing of value 0"),
    ],
)
def test_refusals(segmenter, make_case, fields, message):
    with pytest.raises(LLMBoostError, match=message):
        explain(segmenter, [make_case(126)[0]], ExplanationSpec(**fields))


def test_cancels(segmenter, make_case):
    with pytest.raises(Cancelled):
        explain(segmenter, [make_case(127)[0]], watch=Watch(cancelled=lambda: True))


def test_slice_by_slice(tiny_network, tiny_card):
    """A 2D segmenter sees slices, and so does its explanation: a slice's map depends on that slice alone."""
    strides = ((2, 2, 1), (2, 2, 1), (2, 2, 1))
    network = tiny_network(strides=strides).eval().requires_grad_(False)
    volume, mask = noise(1, 24, 32, 5), torch.zeros(24, 32, 5, dtype=torch.bool)
    mask[8:16, 8:16, 1:4] = True
    found = segment_relevance(network, volume, mask, (24, 32, 1), 1, ExplanationSpec())
    assert not found[..., 0].any()
    assert not found[..., 4].any()
    changed = volume.clone()
    changed[..., 3] = 0
    mask[..., 3] = False
    other = segment_relevance(network, changed, mask, (24, 32, 1), 1, ExplanationSpec())
    kept = (found[..., 1:3] > 0) & (other[..., 1:3] > 0)
    shift = (found - other)[..., 1:3][kept]
    torch.testing.assert_close(shift, shift.mean().expand_as(shift), rtol=1e-3, atol=1e-7)


# -- the shipped model -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hippocampus() -> Model:
    return load_model(find("hippocampus"))


def test_the_shipped_model_looks_at_the_hippocampus(hippocampus, data_root):
    from llmboost.io.dataset import load, read_dataset

    case = read_dataset(data_root / "Task04_Hippocampus").split("val")[1]
    (image,), truth = load(case)
    gains = []
    for label in hippocampus.card.labels:
        mask = truth.array == label.value
        found = explain(hippocampus, [image], ExplanationSpec(label.value)).map.array
        gains.append(share(found, mask) / mask.mean())
    assert np.mean(gains) > 2, gains


def test_whole_heads_through_the_cascade(hippocampus, template):
    """Each side's segment is explained in its own crop; on a symmetric head, both nearly alike."""
    labels = hippocampus.card.sided_labels
    head = template
    maps = [explain(hippocampus, [head], ExplanationSpec(value)) for value in (labels[0].value, labels[2].value)]
    left, right = (found.map.array for found in maps)
    assert [found.target.name for found in maps] == [labels[0].name, labels[2].name]
    assert maps[0].localizer is not None
    assert maps[0].localizer.name == "brain"
    middle = (head.affine @ [*(np.array(head.shape) - 1) / 2, 1])[0]
    place = np.moveaxis(np.indices(head.shape), 0, -1) @ head.affine[0, :3] + head.affine[0, 3]
    assert share(left, place > middle) == pytest.approx(1), "LPS: x grows to the left"
    assert share(right, place < middle) == pytest.approx(1)
    assert 0 < (left > 0).mean() < 0.05, "only the crop"


def test_a_cascade_that_finds_nothing(hippocampus):
    box = Image(np.zeros((90, 90, 90), np.float32), (2, 2, 2), (0, 0, 0), np.eye(3))
    found = explain(hippocampus, [box])
    assert not found.map.array.any()
    assert found.warnings == ("this does not look like a head: nothing was segmented",)
    foreign = explain(hippocampus, [dataclasses.replace(box, modality="CT")])
    assert "CT" in foreign.warnings[0]


# -- classes -----------------------------------------------------------------------------------------------------------


def classifier(tiny_card, name: str, input_region: str = "center", mirror=(), multi_label=False, **options) -> Model:
    network = small(name, boosted=False, **options)
    labels = (Label(0, "no", (1, 2, 3)), Label(1, "yes", (3, 2, 1)))
    patch_size = network.config.image_size
    card = dataclasses.replace(
        tiny_card(network),
        task=CLASSIFICATION,
        labels=labels,
        classification=Classification(
            input_region=input_region, thresholds=(0.5, 0.5) if multi_label else (), multi_label=multi_label
        ),
        preprocessing=Preprocessing(patch_size=patch_size, mirror=mirror),
    )
    return Model(card, network)


FLAT = {"image_size": (32, 32, 1), "stem": (4, 6), "width": 16, "depth": 2, "heads": 2, "head_width": 8, "mlp": 32}
NETWORKS["vit-tiny"] = FLAT


def test_a_map_of_a_class(tiny_card):
    model = classifier(tiny_card, "vit3d-tiny")
    array = noise(40, 40, 30).numpy()
    image = Image(array, (1, 1, 1), (5, 6, 7), np.diag([-1.0, -1, 1]))
    found = explain(model, [image])
    assert found.target in model.card.labels
    assert found.map.same_grid(image)
    assert found.map.array.max() == 1
    assert not found.map.array[:7].any(), "outside the window that the classifier sees"
    seen = found.map.array[8:32, 4:36, 3:27]
    assert (seen > 0).mean() > 0.1
    other = explain(model, [image], ExplanationSpec(1 - found.target.value))
    assert not np.allclose(other.map.array, found.map.array)


@pytest.mark.parametrize("input_region", ["square", "center"])
def test_slices_of_a_flat_classifier(tiny_card, input_region):
    model = classifier(tiny_card, "vit-tiny", input_region)
    image = Image(noise(40, 36, 4).numpy(), (1, 1, 5), (0, 0, 0), np.diag([-1.0, -1, 1]))
    every = explain(model, [image], ExplanationSpec(1)).map.array
    assert all(every[..., k].any() for k in range(4))
    one = explain(model, [image], ExplanationSpec(1), slice_number=2).map.array
    assert not one[..., [0, 1, 3]].any()
    np.testing.assert_allclose(one[..., 2], every[..., 2] / every[..., 2].max(), atol=1e-5)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(axes=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3), angle=st.floats(-20, 20))
def test_the_map_of_a_class_follows_the_image(tiny_card, reordered, axes, flips, angle):
    model = classifier(tiny_card, "vit3d-tiny", mirror=(0,), multi_label=True)
    turn = Rotation.from_euler("xyz", (angle, -angle, angle / 2), degrees=True).as_matrix()
    image = Image(noise(30, 36, 26).numpy(), (1.2, 1, 1.1), (5, 6, 7), turn @ np.diag([-1.0, -1, 1]))
    plain = explain(model, [image], ExplanationSpec(1)).map
    other = explain(model, [reordered(image, axes, flips)], ExplanationSpec(1)).map
    np.testing.assert_allclose(reordered(plain, axes, flips).array, other.array, atol=1e-4)


def test_a_layer_that_says_nothing_is_told(tiny_card):
    """Of a network that reads its class token, no other token matters after the last mixing."""
    model = classifier(tiny_card, "vit3d")
    network = small("vit3d", boosted=True)
    image = Image(noise(*WINDOW).numpy(), (1, 1, 1), (0, 0, 0), np.diag([-1.0, -1, 1]))
    found = explain(Model(model.card, network), [image], ExplanationSpec(1))
    assert found.warnings == ("the map is empty: at this layer, nothing speaks for yes; choose the other one",)


# -- faithfulness ------------------------------------------------------------------------------------------------------


def test_energy_and_pointing():
    mask = torch.zeros(4, 4, 4, dtype=torch.bool)
    mask[:2] = True
    assert energy(mask.float(), mask) == 1
    assert energy((~mask).float(), mask) == 0
    assert energy(torch.ones(4, 4, 4), mask) == pytest.approx(0.5)
    assert energy(torch.zeros(4, 4, 4), mask) == 0
    heat = torch.zeros(4, 4, 4)
    heat[1, 2, 3] = 1
    assert points_into(heat, mask)
    assert not points_into(heat.flip(0), mask)


def test_deletion_and_insertion_prefer_the_map_that_is_right():
    """A score that some voxels alone make: to delete them first is the fastest way down."""
    matters = torch.zeros(10, 10, 10)
    matters[:3] = 1
    volume, nothing = torch.ones(1, 10, 10, 10), torch.zeros(1, 10, 10, 10)

    def score(image: torch.Tensor) -> float:
        return float((image[0] * matters).sum() / matters.sum())

    right, wrong = areas(score, volume, nothing, matters), areas(score, volume, nothing, 1 - matters)
    assert right[0] < 0.2 < 0.7 < wrong[0]
    assert wrong[1] < 0.3 < 0.8 < right[1]
    random = areas(score, volume, nothing, noise(10, 10, 10))
    assert random == pytest.approx((0.5, 0.5), abs=0.05)


def test_randomised_weights_are_the_same_numbers_elsewhere():
    network = small("hybrid-vit")
    other = randomised(network, seed=3)
    for (name, before), after in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(before.flatten().sort().values, after.flatten().sort().values)
        assert before.numel() < 8 or not before.equal(after), name
    for one, two in zip(other.parameters(), randomised(network, seed=3).parameters(), strict=True):
        assert one.equal(two)
