"""What the engine's tests share: a small made-up data set, a tiny network and its model file.

torch and all that needs it is imported where it is used, so that tests of light modules stay light.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from llmboost.card import SEGMENTATION, Card, Label, Preprocessing
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.segnrrd import read_segmentation

from . import fuzzing, summaries
from .batch_samples import LIMIT, Process, environment

SHAPE = (24, 28, 24)
TINY = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}
IDENTITY_RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS


def ellipsoids(seed: int, noise: float = 0.15, shape: tuple[int, int, int] = SHAPE) -> tuple[Image, Image]:
    """An image of two adjacent halves of an ellipsoid (labels 1 and 2, of different brightness) in a random pose."""
    random = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    middle = (np.array(shape) - 1) / 2 + random.uniform(-2, 2, 3)
    turn = Rotation.from_euler("xyz", random.uniform(-0.4, 0.4, 3)).as_matrix()
    x, y, z = np.moveaxis((index - middle) @ turn / (random.uniform(0.26, 0.34, 3) * shape), -1, 0)
    inside = x**2 + y**2 + z**2 < 1
    label = np.where(inside, np.where(y > 0, 1, 2), 0).astype(np.uint8)
    image = np.array([0.0, 1.0, 0.6])[label] + noise * random.standard_normal(shape)
    place = ((1.0, 1.0, 1.0), tuple(random.uniform(-50, 50, 3)), IDENTITY_RAS)
    return Image((300 * image).astype(np.float32), *place), Image(label, *place)


@pytest.fixture(scope="session")
def make_case():
    """``make_case(seed, noise)`` gives an image with its label map."""
    return ellipsoids


@pytest.fixture(scope="session")
def write_dataset():
    """``write_dataset(folder, cases, ...)`` writes {id: (image, label or None)} in the Decathlon's form."""

    def write(
        folder: Path,
        cases: dict[str, tuple[Image, Image | None]],
        splits: dict[str, list[str]] | None = None,
        labels: dict[str, str] | None = None,
        modality: str = "MRI",
    ) -> Path:
        for name in ("imagesTr", "labelsTr"):
            (folder / name).mkdir(parents=True)
        for id, (image, label) in cases.items():
            write_image(image, folder / "imagesTr" / f"{id}.nii.gz")
            if label is not None:
                write_image(label, folder / "labelsTr" / f"{id}.nii.gz")
        description = {
            "name": "Ellipsoids",
            "modality": {"0": modality},
            "labels": labels or {"0": "background", "1": "front", "2": "back"},
            "licence": "CC0",
            "reference": "made up",
        }
        (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
        if splits is not None:
            (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory, write_dataset) -> Path:
    """Eight cases: five to train on, two for validation, one to test. Shared: do not change it."""
    cases = {f"case_{seed}": ellipsoids(seed) for seed in range(8)}
    ids = list(cases)
    splits = {"train": ids[:5], "val": ids[5:7], "test": ids[7:]}
    return write_dataset(tmp_path_factory.mktemp("ellipsoids"), cases, splits)


@pytest.fixture(scope="module")
def volumes(dataset_folder):
    """(train, val) of ``dataset_folder`` as a network with the steps of training_samples.py sees them."""
    from llmboost.io.dataset import read_dataset
    from llmboost.learn.segmentation import read_volume

    from .training_samples import STEPS

    dataset = read_dataset(dataset_folder)
    return tuple([read_volume(dataset, case, STEPS) for case in dataset.split(name)] for name in ("train", "val"))


@pytest.fixture
def tiny_network():
    """``tiny_network(seed, **options)`` gives a network of 30,000 weights."""
    import torch

    from llmboost.networks import build

    def make(seed: int = 0, **options) -> torch.nn.Module:
        torch.manual_seed(seed)
        return build("hybrid-vit", {**TINY, **options}, None)

    return make


@pytest.fixture
def tiny_card():
    """``tiny_card(network)`` gives a card that fits."""
    from llmboost.networks import describe

    def make(network, **fields) -> Card:
        entry, booster = describe(network)
        card = Card(
            name="tiny",
            title="Tiny",
            description="For tests",
            task=SEGMENTATION,
            labels=(Label(1, "front", (230, 159, 0)), Label(2, "back", (86, 180, 233))),
            modality="MRI",
            preprocessing=Preprocessing(patch_size=(24, 32, 24)),
            network=entry,
            booster=booster,
            license="CC0",
        )
        return dataclasses.replace(card, **fields)

    return make


@pytest.fixture
def tiny_model(tmp_path, tiny_network, tiny_card) -> Path:
    """The path of a model file."""
    from llmboost.model import save_model

    network = tiny_network()
    path = tmp_path / "tiny.safetensors"
    save_model(network, tiny_card(network), path)
    return path


@pytest.fixture(scope="session")
def training(dataset_folder, tmp_path_factory) -> SimpleNamespace:
    """A tiny network trained on ``dataset_folder`` until it segments: model file, card, run folder and events."""
    import torch

    from llmboost.learn.train import Recipe, run_folder, train
    from llmboost.learn.trainer import TrainingConfig

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in (3, 0, 5):  # with some seeds, a network this small takes the two labels for one
            path = tmp_path_factory.mktemp("training") / "ellipsoids.safetensors"
            events: list[dict] = []
            recipe = Recipe(
                TrainingConfig(steps=60, rate=1e-2, validations=3, seed=seed),
                options={**TINY, "dropout": 0.0},
                booster=None,
            )
            card = train(dataset_folder, path, recipe, device=torch.device("cpu"), report=events.append)
            if card.figures["val_dice"] > 0.8:
                break
    finally:
        torch.set_num_threads(threads)
    return SimpleNamespace(path=path, card=card, run=run_folder(path), events=events, config=recipe.config)


@pytest.fixture(scope="session")
def trained_model(training) -> Path:
    """The path of a model that segments :func:`ellipsoids`. Shared: do not change it."""
    return training.path


@pytest.fixture(scope="session")
def reordered():
    """``reordered(image, axes, flips)``: the same voxels in the same place, stored along other axes."""

    def reorder(image: Image, axes, flips) -> Image:
        array, direction, first = image.array.transpose(axes), image.direction[:, axes], np.zeros(3)
        for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
            if flip:
                array, first[old] = np.flip(array, new), image.shape[old] - 1
                direction[:, new] *= -1
        origin = image.affine[:3, :3] @ first + image.origin
        return Image(np.ascontiguousarray(array), tuple(image.spacing[a] for a in axes), tuple(origin), direction)

    return reorder


@pytest.fixture(scope="session")
def template() -> Image:
    """The MNI152 T1 head of the nilearn wheel: an average of 152 people, its halves mirror images of each other."""
    wheel = importlib.util.find_spec("nilearn")
    if wheel is None:
        pytest.skip("no MNI152 template: the wheel nilearn is not installed")
    (folder,) = wheel.submodule_search_locations
    return read_image(Path(folder) / "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")


@pytest.fixture
def library_folder(tmp_path, monkeypatch) -> Path:
    """An empty library in place of the user's own."""
    folder = tmp_path / "library"
    monkeypatch.setenv("LLMBOOST_MODELS", str(folder))
    return folder


@pytest.fixture
def llmboost(library_folder, capsys):
    """``llmboost("segment", ...)`` runs the command line in this process: status, out and err."""
    from llmboost.cli import main

    def run(*arguments) -> SimpleNamespace:
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as end:
            status = end.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return run


@pytest.fixture
def refusal(llmboost):
    """``refusal("segment", ...)``: the one line with which the command line refuses."""

    def run(*arguments) -> str:
        done = llmboost(*arguments)
        assert done.status == 1
        lines = done.err.strip().splitlines()
        assert len(lines) == 1, done.err
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")

    return run


@pytest.fixture(scope="module")
def reader() -> Iterator[fuzzing.Reader]:
    """The child process that reads damaged files."""
    reader = fuzzing.Reader()
    yield reader
    reader.close()


@pytest.fixture
def fuzz(reader, request) -> Callable[..., None]:
    """``fuzz(name, path, changes, write)``: reads what ``write(changes)`` makes of a valid file at ``path``."""
    slow = request.config.getoption("--slow")
    run = hypothesis.settings(
        max_examples=fuzzing.SLOW_EXAMPLES if slow else fuzzing.EXAMPLES,
        derandomize=not slow,  # the normal run is the same every time; the slow one searches
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def start(name: str, path: Path, changes, write: Callable) -> None:
        assert reader(name, path) == "read"
        end = time.monotonic() + fuzzing.SLOW_SECONDS

        @run
        @hypothesis.given(changes)
        def each(change) -> None:
            if time.monotonic() < end:
                write(change)
                assert reader(name, path) in ("read", "refused")

        each()

    return start


@pytest.fixture
def start_batch(tmp_path, tiny_model):
    """``start_batch(option, ...)`` segments tmp_path/images into tmp_path/out in a process of its own."""
    running = []

    def run(*options):
        arguments = ("segment", tmp_path / "images", "--model", tiny_model, "--output", tmp_path / "out", *options)
        running.append(Process("llmboost", *arguments, env=environment(tmp_path / "traps")))
        return running[-1]

    yield run
    for process in running:
        process.kill()


@pytest.fixture
def check_batch(llmboost, tiny_model, tmp_path):
    """``check_batch(good, others)``: tmp_path/out holds what one process makes of each good case, and no more."""

    def labels(folder, id):
        return read_segmentation(folder / f"{id}.seg.nrrd")[0].array

    def run(good, others):
        out, alone = tmp_path / "out", tmp_path / "alone"
        llmboost(
            "segment", *(tmp_path / "images" / f"{id}.nrrd" for id in good), "--model", tiny_model, "--output", alone
        )
        assert summaries.names(out) == sorted([*(f"{id}.seg.nrrd" for id in good), "summary.csv", "summary.json"])
        found = summaries.rows(out)
        assert sorted(found) == sorted([*good, *others])
        assert {id for id, row in found.items() if row["status"] == "ok"} == set(good)
        for id in good:
            assert (labels(out, id) == labels(alone, id)).all()
            assert found[id]["volumes_ml"] == summaries.rows(alone)[id]["volumes_ml"]
        for id in others:
            assert found[id]["error"].startswith(f"{tmp_path / 'images' / id}.nrrd: ")
        for id in (id for id in others if id.startswith("crash")):
            assert found[id]["error"].endswith(": ended its process (signal SIGABRT), 2 times")
        for id in (id for id in others if id.startswith("hang")):
            assert found[id]["error"].endswith(f": took longer than {LIMIT} s, 2 times")

    return run


@pytest.fixture
def scheduler(tmp_path):
    """``scheduler(workers)`` starts a scheduler with workers; gives their processes, the scheduler's first."""
    running = []

    def run(workers, *options):
        file = tmp_path / f"scheduler{len(running)}.json"
        env = environment(tmp_path / "traps") | {
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
        place = ("--scheduler-file", file, *options)
        running.append(
            Process(
                "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", *place, env=env
            )
        )
        first = len(running) - 1
        _wait_until(file.exists, running[-1])
        for number in range(workers):
            folder = ("--local-directory", tmp_path / f"worker{len(running)}")
            one = ("--name", f"w{number}", "--nthreads", 1, "--no-dashboard", *folder)
            running.append(Process("distributed.cli.dask_worker", *one, *place, env=env))
        return file, running[first:]

    yield run
    for process in reversed(running):
        process.kill()


def _wait_until(there, process):
    deadline = time.monotonic() + 600
    while not there():
        assert process.runs(), process.text
        assert time.monotonic() < deadline
        time.sleep(0.05)
