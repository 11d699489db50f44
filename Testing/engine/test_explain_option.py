"""Explaining as an option of segmenting and classifying: the same map as by itself, and no network computes twice."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from llmboost.errors import LLMBoostError, NotExplained
from llmboost.explanation import ExplanationSpec
from llmboost.handlers.explain import even_without_map
from llmboost.inference.cascade import localize
from llmboost.inference.classify import classify
from llmboost.inference.explain import explain
from llmboost.inference.segment import segment
from llmboost.inference.watch import Watch
from llmboost.model import Model
from llmboost.networks.tap import Tap

from .test_cascade import Looker, make_head, make_model
from .test_classify import meaning_of, stack, untrained


@contextmanager
def counting(module: torch.nn.Module):
    """The sizes of the batches that a module is given."""
    sizes: list[int] = []
    hook = module.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    yield sizes
    hook.remove()


# -- segments ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def segmenter(tiny_network, tiny_card) -> Model:
    network = tiny_network().eval().requires_grad_(False)
    return Model(tiny_card(network), network)


def test_a_segment_is_drawn_once_for_itself_and_its_map(segmenter, make_case):
    image = make_case(150)[0]
    with counting(segmenter.network) as drawing:
        alone = segment(segmenter, [image])
    value = int(np.bincount(alone.labelmap.array.ravel())[1:].argmax()) + 1
    spec = ExplanationSpec(value, "attention-rollout", "before")
    drawn = alone.labelmap.with_array(alone.labelmap.array == value)
    with counting(segmenter.network) as explaining:
        later = explain(segmenter, [image], spec, reference=drawn)
    with counting(segmenter.network) as both:
        result = segment(segmenter, [image], explain=spec)
    assert explaining
    assert len(both) == len(drawing) + len(explaining)
    assert np.array_equal(result.labelmap.array, alone.labelmap.array)
    assert np.array_equal(result.explanation.map.array, later.map.array)
    assert result.explanation.map.array.max() == 1
    assert (result.explanation.target.value, result.explanation.method) == (value, "attention-rollout")
    assert alone.explanation is None


class Tapped(Looker):
    """Tells an organ's parts by their brightness, on tokens of one voxel."""

    stride = (1, 1, 1)

    def __init__(self):
        super().__init__()
        self.before_booster, self.after_booster = Tap(), Tap()

    def forward(self, x):
        x = self.after_booster(self.before_booster(x))
        return torch.cat([2 - x, x - 4, 1 - (x - 3).abs()], dim=1)


def test_a_cascade_looks_once_for_segments_and_their_map():
    model = Model(make_model().card, Tapped(), make_model().helpers)
    (head, _), finder = make_head(), model.helpers["finder"].network
    with counting(finder) as finding:
        localize(model, head)
    with counting(finder) as found, counting(model.network) as drawing:
        alone = segment(model, [head])
    with counting(finder) as again, counting(model.network) as both:
        result = segment(model, [head], explain=ExplanationSpec(4))  # the right organ's front
    assert len(found) == len(again) == len(finding)
    assert len(both) > len(drawing)
    assert np.array_equal(result.labelmap.array, alone.labelmap.array)
    assert result.explanation.target.name == "Right front"
    assert result.explanation.localizer.name == "finder"
    heat = result.explanation.map.array
    assert heat.max() == 1
    assert not heat[: head.shape[0] // 2].any(), "the left organ"


def test_images_that_are_not_looked_at_are_not_explained():
    model = make_model()
    image = make_head()[0]
    foreign = type(image)(image.array, image.spacing, image.origin, image.direction, modality="CT")
    result = segment(model, [foreign], explain=ExplanationSpec())
    assert not result.explanation.map.array.any()
    assert result.explanation.warnings == ("the images are CT, and model 'looker' takes MR: nothing was segmented",)


def test_a_target_that_is_not_there_is_told_before_anything_is_drawn(segmenter, make_case):
    with counting(segmenter.network) as calls, pytest.raises(LLMBoostError, match="nothing of value 9"):
        segment(segmenter, [make_case(151)[0]], explain=ExplanationSpec(9))
    assert not calls


class Untapped(Looker):
    """A peer's network: no tokens."""

    stride = (1, 1, 1)


def test_what_cannot_be_explained_is_segmented_all_the_same():
    """Of a network without tokens there is no map: the command line says so, and the panel keeps the segments."""
    model, (head, _) = Model(make_model().card, Untapped(), make_model().helpers), make_head()
    alone = segment(model, [head])
    with pytest.raises(NotExplained, match="no token grid"):
        segment(model, [head], explain=ExplanationSpec(4))
    result = even_without_map(lambda: segment(model, [head], explain=ExplanationSpec(4)))
    assert np.array_equal(result.labelmap.array, alone.labelmap.array)
    assert result.explanation is None
    assert result.warnings == (*alone.warnings, "not explained: the network Untapped has no token grid to make maps on")


def test_progress_goes_on_from_drawing_to_explaining(segmenter, make_case):
    seen: list[float] = []
    segment(segmenter, [make_case(152)[0]], explain=ExplanationSpec(), watch=Watch(seen.append))
    assert seen == sorted(seen)
    assert seen[0] < 0.5


# -- classes -----------------------------------------------------------------------------------------------------------


def test_the_encoder_runs_once_for_distance_and_probabilities():
    model = untrained()
    with counting(model.network.transformer) as calls:
        plain = classify(model, [stack(5)])
    assert calls == [5]
    assert plain.explanation is None
    with counting(model.network.transformer) as calls:
        found = classify(model, [stack(5)], explain=ExplanationSpec(1))
    assert calls == [5] + 5 * [1]
    assert found.probabilities == plain.probabilities
    later = explain(model, [stack(5)], ExplanationSpec(1))
    assert np.array_equal(found.explanation.map.array, later.map.array)
    assert found.explanation.target.name == "ill"


def test_of_a_case_that_is_refused_there_is_no_map():
    model = meaning_of(untrained(), range_limit=1e-6)
    model.network.ood_score.whitening.fill_(1.0)
    found = classify(model, [stack()], explain=ExplanationSpec())
    assert found.refused
    assert found.explanation is None
    with pytest.raises(LLMBoostError, match="not an image that this model knows"):
        explain(model, [stack()])
    assert classify(model, [stack()], explain=ExplanationSpec(), anyway=True).explanation.map.array.any()


def test_progress_of_many_slices():
    model, seen = untrained(), []
    classify(model, [stack(70)], watch=Watch(seen.append))
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == 1


def full_from(model: Model, most: int):
    """Makes the network's memory too small for more than so many images."""

    def check(_module, inputs):
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("full")

    return model.network.transformer.register_forward_pre_hook(check)


def test_a_full_memory_takes_fewer_images_at_a_time():
    model = untrained()
    expected = classify(model, [stack(10)])
    hook = full_from(model, 4)
    with counting(model.network.transformer) as sizes:
        found = classify(model, [stack(10)])
    hook.remove()
    np.testing.assert_allclose(found.slice_probabilities, expected.slice_probabilities, atol=1e-6)
    assert max(sizes[-3:]) <= 4
    assert "the GPU's memory was full: less is computed at a time" in found.warnings
    assert not expected.warnings


def test_an_image_that_nothing_can_hold_is_an_error():
    model = untrained()
    hook = full_from(model, 0)
    with pytest.raises(torch.OutOfMemoryError):
        classify(model, [stack(3)])
    hook.remove()
