"""From labeled images to a classifier's model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from ...booster import Booster, BoosterConfig
from ...card import CLASSIFICATION, Card, Classification, Label, Normalization, Preprocessing, read_card
from ...card.figures import NOT_TAUGHT
from ...card.modality import term
from ...errors import LLMBoostError
from ...evaluation import judged
from ...inference import looks
from ...inference.classify import distance, features_of, probabilities
from ...io.imageset import ImageSet, Sample, read_image_set
from ...model import Model, load_model, save_model
from ...networks import CLASSIFIERS, build
from ...report import ObservedImages, Training, write_report
from ...report.classification import MOST, wrongness
from ..curve import draw_curve
from ..distributed import by_first
from ..plan import ct_window, has_side
from ..train import alone, base_card, check_free, check_output, default_labels
from ..trainer import Outcome, Trainer
from ..trainingreport import REPORT
from .augment import Augmentation
from .pretrained import load_pretrained
from .task import ClassificationConfig, ClassificationTask, Images, image_digests, read_images

DEFAULT_SIZE = 64  # voxels a side, where the data name none
USUAL = 0.99  # the share of validation images that count as the kind that the model knows
RESAMPLES = 500  # of validation images, for the AUC's interval
SURVEYED = 200  # training images that intensities are measured on


@dataclass(frozen=True)
class ClassificationRecipe:
    """All that is chosen by hand; the rest comes from the data.

    Attributes:
        network: by default the small one for slices or volumes.
        options: fields of the network's config.
        size: voxels a side that images are brought to; by default as the data have them.
        mirror: axes along which images may be mirrored, in training and when they are classified; by default from right
            to left, unless a class has a side.
        augmentation: by default the usual, without changes of intensity for masks.
        keep_brightness: of gray pictures of 8 bits, whose brightness says something; otherwise each image is brought to
            mean 0 and spread 1.
        start: a classifier's model file, whose weights are taken over as far as they fit, but for the head.
        pretrained: a folder with a vision transformer's weights, see :func:`.pretrained.load_pretrained`.
        teachers: model files of several trainings, whose answers this one learns, see
            :class:`.task.ClassificationTask`.
        card: fields of the model's card to set.
        report: whether to write report.html into the run's folder.
    """

    config: ClassificationConfig
    network: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    booster: BoosterConfig | None = None
    size: int = 0
    mirror: tuple[int, ...] | None = None
    augmentation: Augmentation | None = None
    keep_brightness: bool = False
    pretrained: Path | None = None
    start: Path | None = None
    teachers: tuple[Path, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)
    report: bool = False


@dataclass(frozen=True)
class ImagePlan:
    """How images become what a classifier sees, see :class:`...card.Classification`; and why, in words."""

    preprocessing: Preprocessing
    input_region: str
    reasons: tuple[str, ...]


def train_classifier(
    data: Path | ImageSet,
    output: Path,
    recipe: ClassificationRecipe,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    plan: ImagePlan | None = None,
) -> Card:
    """Train on the split "train"; select, calibrate and set thresholds on "val"; write a model file.

    Log, checkpoint and curve lie beside ``output``, as :func:`llmboost.learn.train.train` leaves them.

    Args:
        data: a data set, or where it is.
        plan: by default, :func:`plan_images` of it.

    Raises:
        LLMBoostError: anything wrong with the images (all of it at once), a training that cannot go on, or a model that
            would be overwritten.
        Cancelled: before the first validation.
    """
    check_output(output, resume)
    data = data if isinstance(data, ImageSet) else read_image_set(data)
    train, val = data.split("train"), data.split("val")
    plan = plan or plan_images(data, recipe)
    preprocessing, input_region = plan.preprocessing, plan.input_region
    report({"event": "plan", "reasons": plan.reasons, "held_out": [sample.id for sample in val]})
    network = _network(recipe, data, preprocessing)
    images, held_out = (read_images(samples, preprocessing, input_region) for samples in (train, val))
    teachers = [load_model(teacher, device) for teacher in recipe.teachers]
    _check_teachers(recipe, teachers, data, preprocessing)
    with alone(output) as run:
        check_output(output, resume)  # another training may have written it meanwhile
        task = ClassificationTask(
            images,
            held_out,
            preprocessing,
            recipe.config,
            augmentation_of(recipe, preprocessing, input_region),
            dict(enumerate(data.classes)),
            data.multi_label,
            [teacher.network for teacher in teachers],
        )
        identity = {
            **image_digests((train, images), (val, held_out)),
            "start": read_card(recipe.start).digest if recipe.start else None,
            "pretrained": recipe.pretrained and recipe.pretrained.name,
            "teachers": [teacher.card.digest for teacher in teachers],
        }
        trainer = Trainer(network, task, run, device, report, cancelled, identity)
        if resume:
            trainer.resume()
        outcome = trainer.run()

        def write() -> Card:
            network.load_state_dict({**network.state_dict(), **outcome.state})
            network.eval()
            cast(Any, network).ood_score.fit(features_of(network, images.images))
            if isinstance(network.booster, Booster):
                network.booster.merge_lora()
            usual = looks.fit(
                images.images.numpy(), held_out.images.numpy(), preprocessing.mirror, input_region == "mask"
            )
            meaning = replace(calibrate(network, held_out, data, preprocessing, input_region), looks=usual)
            result = _judged(data, val, task, network, meaning)
            card = _card(output, recipe, data, task, network, outcome, meaning, result)
            check_free(output, resume)
            card = save_model(network, card, output)
            draw_curve(run)
            if recipe.report:
                told = Training(run / "curve.png", plan.reasons)
                write_report(run / REPORT, card, result, observe_worst(result, val, preprocessing), told)
                report({"event": "report", "text": f"report on {len(val)} validation images in {run / REPORT}"})
            return card

        return by_first(write)


def _network(recipe: ClassificationRecipe, data: ImageSet, preprocessing: Preprocessing) -> nn.Module:
    """The network to train, by the recipe's seed; raises LLMBoostError."""
    name = recipe.network or ("vit-tiny" if data.flat else "vit3d-tiny")
    if name not in CLASSIFIERS:
        raise LLMBoostError(f"network '{name}' does not classify; use one of {', '.join(CLASSIFIERS)}")
    torch.manual_seed(recipe.config.seed)
    options = {
        "channels": preprocessing.channels,
        "classes": len(data.classes),
        "image_size": preprocessing.patch_size,
        **recipe.options,
    }
    network = build(name, options, recipe.booster)
    if recipe.pretrained:
        load_pretrained(network, recipe.pretrained)
    if recipe.start:
        _take_over(network, load_model(recipe.start).network)
    return network


def observe_worst(result: Mapping[str, Any], samples: Sequence[Sample], preprocessing: Preprocessing) -> ObservedImages:
    """The images that were judged worst, which are read again for their pictures."""
    observed, known = ObservedImages(), {sample.id: sample for sample in samples}
    for case in sorted(result["cases"], key=wrongness, reverse=True)[:MOST]:
        observed.see(case, known[case["id"]].read(preprocessing))
    return observed


def plan_images(data: ImageSet, recipe: ClassificationRecipe) -> ImagePlan:
    """Window, spacing, input region and intensities, from the images to train with."""
    size = recipe.size or data.size or DEFAULT_SIZE
    survey = data.split("train")[:: max(1, len(data.split("train")) // SURVEYED)]
    sided = [name for name in data.classes if has_side(name)]
    mirror = recipe.mirror if recipe.mirror is not None else () if sided else (0,)
    if data.flat:
        channels = 3 if data.color else 1
        preprocessing = Preprocessing(
            channels, (1.0, 1.0, 1.0), (size, size, 1), (Normalization(),) * channels, mirror, data.color
        )
        input_region, why = "square", "the middle square of each image"
    else:
        facts = [sample.read(Preprocessing())[0] for sample in survey[:20]]
        masks = term(data.modality) == "SEG" or all(len(np.unique(image.array)) <= 2 for image in facts)
        extents = np.median([np.array(image.shape) * image.spacing for image in facts], axis=0)
        spacing = round(float(extents.max()) / size, 4)
        preprocessing = Preprocessing(1, (spacing,) * 3, (size,) * 3, (Normalization(),), mirror)
        input_region, why = (
            ("mask", "around the middle of the mask") if masks else ("center", "the middle of each volume")
        )
    normalization = tuple(_intensities(data, survey, preprocessing, input_region, recipe.keep_brightness))
    preprocessing = replace(preprocessing, normalization=normalization)
    shown = " x ".join(map(str, preprocessing.patch_size[: 2 if data.flat else 3]))
    kinds = ", ".join(dict.fromkeys(how.kind for how in normalization))
    reasons = (
        f"images: {why}, {shown} voxels",
        f"intensities: {kinds}",
        f"mirrored along axes {mirror or 'none'}",
        f"classes: {', '.join(data.classes)}" + (f"; looked for: {data.positive}" if data.positive else ""),
        *data.notes,
    )
    return ImagePlan(preprocessing, input_region, reasons)


def _intensities(
    data: ImageSet, survey: Sequence[Sample], preprocessing: Preprocessing, input_region: str, keep_brightness: bool
) -> list[Normalization]:
    if input_region == "mask":
        return [Normalization("window", 0.0, 1.0, 0.0, 1.0)]
    if data.color or keep_brightness:  # eight bits, whose brightness says something
        pixels = [np.stack([channel.array.ravel() for channel in sample.read(preprocessing)]) for sample in survey]
        values = np.concatenate(pixels, axis=1)
        return [Normalization("window", 0.0, 255.0, float(v.mean()), max(float(v.std()), 1e-3)) for v in values]
    if term(data.modality) == "CT":
        values = np.concatenate([sample.read(preprocessing)[0].array.ravel()[::97] for sample in survey])
        return [ct_window(values.astype(np.float32))]
    return [Normalization()]


def augmentation_of(recipe: ClassificationRecipe, preprocessing: Preprocessing, input_region: str) -> Augmentation:
    usual = Augmentation(intensity=0.0, erase=0.0) if input_region == "mask" else Augmentation()
    return replace(recipe.augmentation or usual, mirror=preprocessing.mirror)


def class_labels(names: Sequence[str]) -> tuple[Label, ...]:
    """A classifier's labels: all of its classes, counted from 0."""
    return default_labels(dict(enumerate(names)))


def calibrate(
    network: nn.Module, val: Images, data: ImageSet, preprocessing: Preprocessing, input_region: str
) -> Classification:
    """What the network's outputs mean, from validation images: temperature, thresholds, range.

    The positive class's threshold is where sensitivity + specificity is largest (Youden 1950), and so is each class's
    where several may be true.
    """
    plain = probabilities(network, val.images, mirror=preprocessing.mirror, multi_label=data.multi_label)
    limit = float(distance(network, features_of(network, val.images)).quantile(USUAL))
    known = Classification(
        input_region=input_region,
        positive=data.positive,
        multi_label=data.multi_label,
        ordinal=data.ordinal,
        range_limit=limit,
    )
    return fit_meaning(plain, val.targets, data, known)


def fit_meaning(plain: Tensor, targets: Tensor, data: ImageSet, known: Classification) -> Classification:
    """``known`` with the temperature and the thresholds that suit probabilities (N, classes) of images that are not
    learned from."""
    targets = targets.double()
    logits = _logits(plain, data.multi_label)

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if data.multi_label:
            return float(nn.functional.binary_cross_entropy_with_logits(scaled, targets))
        return float(nn.functional.cross_entropy(scaled, targets))

    found: Any = minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded")
    temperature = float(np.exp(found.x))
    chances = scaled(plain, temperature, data.multi_label)
    watched = (
        range(len(data.classes)) if data.multi_label else [data.classes.index(data.positive)] if data.positive else []
    )
    thresholds = tuple(youden(chances[:, c].numpy(), targets[:, c].numpy()) for c in watched)
    return replace(known, temperature=temperature, thresholds=thresholds)


def scaled(plain: Tensor, temperature: float, multi_label: bool = False) -> Tensor:
    """Probabilities (N, classes) at another temperature than 1."""
    logits = _logits(plain, multi_label) / temperature
    return logits.sigmoid() if multi_label else logits.softmax(dim=1)


def _logits(plain: Tensor, multi_label: bool) -> Tensor:
    return torch.logit(plain.double().clamp(1e-6, 1 - 1e-6)) if multi_label else plain.double().clamp(min=1e-9).log()


def youden(chances: np.ndarray, truth: np.ndarray) -> float:
    """The threshold where sensitivity + specificity is largest, amid the neighboring probabilities."""
    values = np.unique(chances)
    cuts = np.concatenate([values[:1] / 2, (values[1:] + values[:-1]) / 2])
    if truth.min() == truth.max():
        return 0.5
    gain = [(chances >= cut)[truth == 1].mean() + (chances < cut)[truth == 0].mean() for cut in cuts]
    best = np.flatnonzero(np.isclose(gain, max(gain)))
    return float(cuts[best[len(best) // 2]])


def _take_over(network: nn.Module, other: nn.Module) -> None:
    own = network.state_dict()
    known = {name: tensor for name, tensor in other.state_dict().items() if not name.startswith("head.")}
    network.load_state_dict(
        {name: known[name] if name in known and known[name].shape == t.shape else t for name, t in own.items()}
    )


def _check_teachers(
    recipe: ClassificationRecipe, teachers: Sequence[Model], data: ImageSet, preprocessing: Preprocessing
) -> None:
    for path, teacher in zip(recipe.teachers, teachers, strict=True):
        names = tuple(label.name for label in teacher.card.labels)
        if names != data.classes or teacher.card.preprocessing != preprocessing:
            raise LLMBoostError(f"{path}: classifies something else, or sees images otherwise: no teacher for this")


def _judged(
    data: ImageSet, samples: Sequence[Sample], task: ClassificationTask, network: nn.Module, meaning: Classification
) -> dict[str, Any]:
    """What the network makes of the validation images, in the form of :func:`...evaluation.judged`."""
    chances = probabilities(
        network,
        task.val.images,
        mirror=task.preprocessing.mirror,
        multi_label=data.multi_label,
        temperature=meaning.temperature,
    )
    return judged(data, "val", meaning, judged_cases(samples, chances), resamples=RESAMPLES)


def judged_cases(samples: Sequence[Sample], chances: Tensor) -> list[dict[str, Any]]:
    """Samples with their probabilities (N, classes), as :func:`...evaluation.judged` takes them."""
    pairs = zip(samples, chances.tolist(), strict=True)
    return [{"id": sample.id, "target": list(sample.target), "probabilities": row} for sample, row in pairs]


def _card(
    output: Path,
    recipe: ClassificationRecipe,
    data: ImageSet,
    task: ClassificationTask,
    network: nn.Module,
    outcome: Outcome,
    classification: Classification,
    result: Mapping[str, Any],
) -> Card:
    taught = np.sum([sample.target for sample in data.splits["train"]], axis=0)
    untaught = [name for name, count in zip(data.classes, taught, strict=True) if not count]
    gaps = {NOT_TAUGHT: untaught} if untaught else {}
    own = {
        "task": CLASSIFICATION,
        "labels": class_labels(data.classes),
        "modality": data.modality,
        "classification": classification,
        "training": {"teachers": len(recipe.teachers)},
        "figures": figures_of(result, "val") | gaps,
    }
    return base_card(output, data, task, network, outcome, own, recipe.card)


def figures_of(result: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What a card tells of images that were judged, as figures called ``what``_auc and so on."""
    figures = {f"{what}_{key}": value for key, value in result.items() if isinstance(value, float)}
    return figures | ({f"{what}_auc_ci95": result["auc_ci95"]} if "auc_ci95" in result else {})
