"""From a data set folder to a model file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..booster import Booster, BoosterConfig
from ..card import PALETTE, SEGMENTATION, Card, Label, read_card, with_codes
from ..card.figures import NOT_TAUGHT
from ..errors import LLMBoostError
from ..files import locked
from ..io.dataset import Dataset, DatasetCase, digest_of, read_dataset
from ..io.datasetcheck import CheckedCases, check, gaps, settle
from ..io.imageset import ImageSet
from ..model import load_model, save_model
from ..networks import DEFAULT_SEGMENTER, PEERS, build, describe
from .curve import draw_curve
from .distributed import by_first, is_first
from .fingerprint import FINGERPRINT, Fingerprint, write_fingerprint
from .plan import TrainingPlan, make_plan
from .provenance import made_with
from .segmentation import SegmentationTask, read_volume
from .trainer import CHECKPOINT, Outcome, Task, Trainer, TrainingConfig, check_run
from .trainingreport import report_training


@dataclass(frozen=True)
class Recipe:
    """All that is chosen by hand; the rest comes from the data (:mod:`.plan`).

    ``options`` are fields of the network's config; ``card`` are fields of the model's card to set, such as title,
    description, labels with terminology, license. ``start`` is a model file of the same network, whose weights training
    starts from. ``quick``: by the plan for minutes, with its network.
    ``report`` asks for report.html in the run's folder (:mod:`.trainingreport`). ``batch``: patches a step, of all
    processes together; 0: as the plan says.
    """

    config: TrainingConfig
    network: str = DEFAULT_SEGMENTER
    options: dict[str, Any] = field(default_factory=dict)
    booster: BoosterConfig | None = None
    card: dict[str, Any] = field(default_factory=dict)
    start: Path | None = None
    quick: bool = False
    report: bool = False
    batch: int = 0


def train(
    data: Path | Dataset,
    output: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    plan: TrainingPlan | None = None,
) -> Card:
    """Train on the split "train", select on "val", and write a model file.

    Log, checkpoint, curve and the data set's fingerprint lie in a folder named after ``output``, with ``.run`` for its
    extension.

    Args:
        data: a data set, or its folder.
        plan: by default, :func:`plan_of` the training cases.

    Raises:
        LLMBoostError: anything wrong with the data set (all of it at once), a training that cannot go on, a model that
            would be overwritten, or a start that does not fit.
        Cancelled: before the first validation.
    """
    check_output(output, resume)
    dataset = data if isinstance(data, Dataset) else read_dataset(data)
    facts = Fingerprint(dataset)
    checked = check(dataset, [*dataset.split("train"), *dataset.split("val")], facts.see)
    dataset, checked = settle(dataset, checked, dataset.split("train"))
    cases, val = dataset.split("train"), dataset.split("val")
    untaught, notes = gaps(dataset, checked, cases, val)
    plan = plan or plan_of(dataset, cases, recipe, checked)
    told = (*plan.reasons, *checked.notes, *notes)
    report({"event": "plan", "reasons": told, "labels": dataset.labels, "held_out": [case.id for case in val]})
    config = replace(recipe.config, batch=plan.batch, **plan.training)

    with alone(output) as run:
        check_output(output, resume)  # another training may have written it meanwhile
        torch.manual_seed(recipe.config.seed)
        network = build(recipe.network, _options(recipe, dataset, plan), recipe.booster)
        if recipe.start:
            _start_from(network, recipe.start)
        learned, held_out = (
            [read_volume(dataset, case, plan.preprocessing, checked.take) for case in some] for some in (cases, val)
        )
        regions = dataset.region_classes
        task = SegmentationTask(learned, held_out, plan.preprocessing, config, dataset.labels, regions=regions)
        identity = {**case_digests(dataset, cases, val), "start": recipe.start and read_card(recipe.start).digest}
        trainer = Trainer(network, task, run, device, report, cancelled, identity)
        if resume:
            trainer.resume()
        if is_first():
            write_fingerprint(facts.report(plan), run / FINGERPRINT)
        outcome = trainer.run()

        def write() -> Card:
            network.load_state_dict({**network.state_dict(), **outcome.state})
            if isinstance(network.booster, Booster):
                network.booster.merge_lora()
            assert outcome.score is not None
            dice = {"val_dice": outcome.score.value, "val_dice_per_label": outcome.score.known_labels}
            own = {
                "task": SEGMENTATION,
                "labels": default_labels(dataset.labels),
                "one_piece": plan.one_piece,
                "modality": ", ".join(dataset.modalities),
                "training": {"start": read_card(recipe.start).training} if recipe.start else {},
                "figures": {**dice, **({NOT_TAUGHT: list(untaught)} if untaught else {})},
            }
            card = base_card(output, dataset, task, network, outcome, own, recipe.card)
            check_free(output, resume)
            card = save_model(network, card, output)
            draw_curve(run, dataset.labels)
            if recipe.report:
                report({"event": "stage", "text": "writing the report"})
                report({"event": "report", "text": report_training(output, card, dataset, run, told, device)})
            return card

        return by_first(write)


def plan_of(dataset: Dataset, cases: Sequence[DatasetCase], recipe: Recipe, checked: CheckedCases) -> TrainingPlan:
    """How a training of that recipe takes these cases."""
    plan = make_plan(dataset, cases, quick=recipe.quick, load=checked.load)
    if not recipe.batch:
        return plan
    others = (reason for reason in plan.reasons if not reason.startswith("batch "))
    return replace(plan, batch=recipe.batch, reasons=(*others, f"batch {recipe.batch}: as asked for"))


def case_digests(dataset: Dataset, train: Sequence[DatasetCase], val: Sequence[DatasetCase]) -> dict[str, Any]:
    """What tells a training's cases from others, see :class:`.trainer.Trainer`: their files, and what is told of them
    alone."""
    kinds = {"training cases": train, "validation cases": val}
    told = dataset.partly_labeled or {}
    undrawn = {case.id: [dataset.labels[value] for value in sorted(told.get(case.id, ()))] for case in (*train, *val)}
    undrawn |= {case.id: ["background"] for case in (*train, *val) if case.rest}
    digests = {kind: {case.id: digest_of(case)[:16] for case in cases} for kind, cases in kinds.items()}
    partly = {id: f"without {', '.join(names)}" for id, names in undrawn.items() if names}
    return {**digests, **({"partly labeled": partly} if partly else {})}


@contextmanager
def alone(output: Path) -> Iterator[Path]:
    """The folder of the run that writes ``output``: this process's alone, and of those that train with it. If it stays
    empty, it goes.

    Raises:
        LLMBoostError: another process is at work there, or nothing can be written.
    """
    run = run_folder(output)
    if not is_first():
        yield run
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{run}: cannot be made ({error.strerror}); choose another output") from error
    try:
        with locked(run, wait=False):
            yield run
    finally:
        with suppress(OSError):
            run.rmdir()


def check_output(output: Path, resume: bool) -> None:
    """Raises LLMBoostError unless ``output`` is a model file's name, and nothing of an earlier training, its model or
    another's file would be overwritten."""
    run = run_folder(output)
    check_run(run)
    if (run / CHECKPOINT).exists() and not resume:
        raise LLMBoostError(f"{run}: holds an earlier training; continue it with --resume, or choose another --output")
    check_free(output, resume)


def check_free(output: Path, resume: bool = False) -> None:
    """Raises LLMBoostError unless ``output`` is a model file's name, and free, or that of a training to go on with."""
    if output.suffix != ".safetensors":
        raise LLMBoostError(f"{output}: a model file ends in .safetensors; choose another output")
    if os.path.lexists(output) and not (resume and output.is_file()):
        raise LLMBoostError(f"{output}: exists already; choose another output, or remove it")


def run_folder(output: Path) -> Path:
    """Where a training that writes ``output`` keeps its log and checkpoint."""
    return output.with_suffix(".run")


def default_labels(names: dict[int, str]) -> tuple[Label, ...]:
    """Labels by name and value, with what their names say, or colored in turn."""
    plain = (Label(value, name, PALETTE[n % len(PALETTE)]) for n, (value, name) in enumerate(names.items()))
    return with_codes(tuple(plain))


def _start_from(network: torch.nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_model(path).network.state_dict())
    except RuntimeError as error:
        raise LLMBoostError(f"{path}: is another network than the one to train, so it is no start for it") from error


def _options(recipe: Recipe, dataset: Dataset, plan: TrainingPlan) -> dict[str, Any]:
    options = {"channels": plan.preprocessing.channels, "classes": len(dataset.labels) + 1, **recipe.options}
    if recipe.network == "plain-vit":
        patch = tuple(math.prod(steps) for steps in zip(*plan.strides, strict=True))
        return {"image_size": plan.preprocessing.patch_size, "patch": patch, **options}
    if recipe.network in PEERS:
        return {"image_size": plan.preprocessing.patch_size, "strides": plan.strides, **options}
    return {"strides": plan.strides, **plan.network, **options}


def base_card(
    output: Path,
    data: Dataset | ImageSet,
    task: Task,
    network: torch.nn.Module,
    outcome: Outcome,
    own: dict[str, Any],
    chosen: dict[str, Any],
) -> Card:
    """The card of a base that was trained.

    Args:
        own: fields of its kind of model; ``training`` is added to what is told of every training.
        chosen: fields by the recipe, which stand above all others.
    """
    network_entry, booster_entry = describe(network)
    training = {
        "data": data.name,
        "data_license": data.license,
        "train_cases": len(data.split("train")),
        "val_cases": len(data.split("val")),
        **own.pop("training"),
        "steps": outcome.steps,
        "minutes": round(outcome.seconds / 60, 1),
        "config": asdict(task.config),
        **made_with(),
    }
    fields: dict[str, Any] = {
        "name": output.stem,
        "title": data.name,
        "description": f"Trained on {data.name}",
        "preprocessing": task.preprocessing,
        "network": network_entry,
        "booster": booster_entry,
        "license": data.license,
        "citation": data.reference,
        "training": training,
    }
    return Card(**{**fields, **own, **chosen})
