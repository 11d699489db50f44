"""What is expected of memory: more voxels, labels and channels take more, a region of interest less."""

import dataclasses

import numpy as np
import pytest
import torch

from llmboost.card import SEGMENTATION, Card, Label, Normalization, Preprocessing
from llmboost.handlers import Engine
from llmboost.inference import memory
from llmboost.inference.memory import describe_need, memory_needed, shortage
from llmboost.inference.roi import Roi
from llmboost.io.image import Image
from llmboost.machine import GB, total_memory
from llmboost.messages.words import Device
from llmboost.messages.worker import WarmUpRequest
from llmboost.model import Model
from llmboost.service import Job

MM = (1.0, 1.0, 1.0)


def card(labels=2, **steps):
    names = tuple(Label(n, f"label {n}", (0, 0, 0)) for n in range(1, labels + 1))
    return Card("a", "", "", SEGMENTATION, names, "MRI", Preprocessing(**steps), {}, {})


def test_more_takes_more():
    small = memory_needed(card(), (128, 128, 128), MM)
    assert small < memory_needed(card(), (256, 128, 128), MM)
    assert small < memory_needed(card(labels=40), (128, 128, 128), MM)
    assert small < memory_needed(card(channels=2, normalization=(Normalization(),) * 2), (128, 128, 128), MM)
    assert small < memory_needed(card(spacing=(0.5, 0.5, 0.5)), (128, 128, 128), MM), "a finer grid than the image's"


def test_many_labels_cost_a_slab_and_not_a_volume():
    voxels = (512, 512, 600)
    extra = memory_needed(card(labels=41), voxels, MM) - memory_needed(card(labels=1), voxels, MM)
    assert extra < 40 * np.prod(voxels) * 4 / 10


def test_a_region_of_interest_takes_less():
    image = Image(np.broadcast_to(np.int16(0), (512, 512, 600)), MM, (0.0, 0.0, 0.0), np.eye(3))
    box = Roi((100, 100, 100), (50, 50, 50))

    def gigabytes(text):
        return float(text.removeprefix("about ").removesuffix(" GB of memory"))

    assert gigabytes(describe_need(card(), image, box)) < gigabytes(describe_need(card(), image)) / 3


@pytest.mark.parametrize(("total", "short"), [(1.0, True), (64.0, False), (None, False)])
def test_a_shortage(monkeypatch, total, short):
    monkeypatch.setattr(memory, "total_memory", lambda: total and total * GB)
    image = Image(np.broadcast_to(np.int16(0), (512, 512, 600)), MM, (0.0, 0.0, 0.0), np.eye(3))
    warnings = shortage(card(), image)
    assert [("1.0 GB" in warning and "region of interest" in warning) for warning in warnings] == [True] * short


def test_this_machine():
    total = total_memory()
    assert total is None or total > GB / 4


def test_a_2d_model_keeps_the_slices_of_an_image():
    steps = dataclasses.replace(card().preprocessing, patch_size=(64, 64, 1), spacing=(1.0, 1.0, 9.0))
    flat = dataclasses.replace(card(), preprocessing=steps)
    assert memory_needed(flat, (256, 256, 40), (1.0, 1.0, 3.0)) < memory_needed(flat, (256, 256, 80), (1.0, 1.0, 3.0))


def test_a_model_that_left_its_device_is_loaded_again(tiny_model):
    """One that had no room on a GPU computes on the CPU: for this image alone."""
    engine, job = Engine(), Job(WarmUpRequest(model=str(tiny_model), device=Device.CPU))
    first = engine.model(job)
    engine.handlers[WarmUpRequest](job)
    assert engine.model(job) is first
    first.helpers["elsewhere"] = Model(first.card, torch.nn.Linear(1, 1, device="meta"))
    engine.handlers[WarmUpRequest](job)
    assert engine.model(job) is not first
