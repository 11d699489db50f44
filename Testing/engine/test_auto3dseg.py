"""Auto3DSeg's models become models of ours, which prepare images in the order of its training."""

import zipfile

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNetDS
from monai.transforms import (
    Compose,
    ConcatItemsd,
    CropForegroundd,
    EnsureTyped,
    Invertd,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ResampleToMatchd,
    ScaleIntensityRanged,
    Spacingd,
)

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.foreign import import_foreign
from llmboost.foreign.checkpoint import read_checkpoint
from llmboost.inference.segment import segment
from llmboost.io.image import read_image
from llmboost.library import find
from llmboost.model import load_model

from .test_bundles import DIFFERING, IMAGES, written

NETWORK = {"_target_": "SegResNetDS", "init_filters": 8, "blocks_down": [1, 1, 2], "dsdepth": 2, "out_channels": 3}
CONFIG = {
    "network": {**NETWORK, "norm": "INSTANCE_NVFUSER", "in_channels": 1},
    "class_names": ["front", "back"],
    "orientation_ras": True,
    "crop_foreground": True,
    "resample": True,
    "resample_resolution": [1.3, 0.8, 1.7],
    "normalize_mode": "range",
    "intensity_bounds": [np.float64(-57), np.float64(364)],
    "roi_size": [24, 32, 16],
    "sigmoid": False,
    "extra_modalities": {},
    "modality": "CT",
}
TABLE = """LabelValue,Name,SegmentedPropertyCategoryCodeSequence.CodingSchemeDesignator,\
SegmentedPropertyCategoryCodeSequence.CodeValue,SegmentedPropertyCategoryCodeSequence.CodeMeaning,\
SegmentedPropertyTypeCodeSequence.CodingSchemeDesignator,SegmentedPropertyTypeCodeSequence.CodeValue,\
SegmentedPropertyTypeCodeSequence.CodeMeaning
1,Liver,SCT,123037004,Anatomical Structure,SCT,10200004,Liver
2,Spleen
"""
MODES = {
    "CT": {},
    "MR": {"normalize_mode": "meanstd", "crop_foreground": False},
    "as stored": {"orientation_ras": False, "resample": False, "normalize_mode": "meanstdtanh"},
    "BraTS": {
        "network": {**CONFIG["network"], "in_channels": 4},
        "normalize_mode": "mri",
        "sigmoid": True,
        "intensity_bounds": None,
    },
    "PET beside CT": {"network": {**CONFIG["network"], "in_channels": 2}, "extra_modalities": {"image2": "pet"}},
}

pytestmark = pytest.mark.usefixtures("library_folder")


def network_of(config, seed=0):
    """A network of random weights, with no class everywhere."""
    torch.manual_seed(seed)
    options = {name: value for name, value in config["network"].items() if name not in ("_target_", "norm")}
    network = SegResNetDS(norm="instance", **options).eval()
    with torch.no_grad():
        found = network(torch.rand(1, options["in_channels"], 32, 32, 32))
        network.up_layers[-1]["head"].bias -= found.mean(dim=(0, 2, 3, 4))
    return network


def write_model(folder, config, seed=0, table=TABLE):
    """What SlicerMONAIAuto3DSeg's archives hold."""
    folder.mkdir(parents=True)
    content = {"state_dict": network_of(config, seed).state_dict(), "config": config, "epoch": 3, "best_metric": 0.5}
    torch.save(content, folder / "model.pt")
    if table:
        (folder / "labels.csv").write_text(table)
    return folder


def intensities(key, mode, low, high):
    """The transforms of a mode."""
    nonzero = NormalizeIntensityd(key, nonzero=True, channel_wise=True)
    return {
        "range": [
            ScaleIntensityRanged(key, a_min=low, a_max=high, b_min=-1, b_max=1, clip=False),
            Lambdad(key, torch.sigmoid),
        ],
        "meanstd": [nonzero],
        "mri": [nonzero],
        "meanstdtanh": [nonzero, Lambdad(key, lambda x: 3 * torch.tanh(x / 3))],
        "pet": [Lambdad(key, lambda x: torch.sigmoid((x - x.min()) / x.std()))],
    }[mode]


def auto3dseg_says(config, files):
    """The label map [i, j, k] of an image, by MONAI's transforms in the order of Auto3DSeg's training."""
    low, high = config["intensity_bounds"] or (0, 1)
    extra = list(config["extra_modalities"].values())
    keys = ["image", *(f"image{n + 2}" for n in range(len(extra)))]
    case = dict(zip(keys, files, strict=True)) if extra else {"image": files}
    steps = [LoadImaged(keys, ensure_channel_first=len(files) == 1 or bool(extra)), EnsureTyped(keys)]
    if config["orientation_ras"]:
        steps.append(Orientationd(keys, axcodes="RAS"))
    if config["crop_foreground"] and not extra:
        steps.append(CropForegroundd("image", source_key="image", margin=10, allow_smaller=True))
    if config["resample"]:
        mm = np.array(config["resample_resolution"])
        steps.append(Spacingd("image", pixdim=mm, mode="bilinear", min_pixdim=mm * 0.75, max_pixdim=mm * 1.25))
    steps += [ResampleToMatchd(keys[1:], key_dst="image")] if extra else []
    for key, mode in zip(keys, [config["normalize_mode"], *extra], strict=True):
        steps += intensities(key, mode, low, high)
    before = Compose([*steps, *([ConcatItemsd(keys, name="image")] if extra else [])])
    case = before(case)
    with torch.no_grad():
        inferer = SlidingWindowInferer(config["roi_size"], 1, 0.625, mode="gaussian")
        found = inferer(case["image"][None], network_of(config))[0]
    found = found.sigmoid() >= 0.5 if config["sigmoid"] else found.argmax(0, keepdim=True)
    pred = MetaTensor(found.float(), meta=case["image"].meta)
    found = np.asarray(Invertd("pred", before, orig_keys="image", nearest_interp=True)({**case, "pred": pred})["pred"])
    if not config["sigmoid"]:
        return found[0]
    labels = 2 * found.any(axis=0)
    labels[found[1:].any(axis=0)] = 1
    labels[found[2].astype(bool)] = 3
    return labels


@pytest.mark.parametrize("mode", MODES)
def test_the_labels_are_those_of_monai(tmp_path, mode):
    config = {**CONFIG, **MODES[mode]}
    channels = config["network"]["in_channels"]
    folder = write_model(tmp_path / f"{mode}-v1.0.0", config, table=TABLE + "3,Tumor\n" * config["sigmoid"])
    model = load_model(find(import_foreign(folder, terms="CC BY 4.0").name))
    differing = total = 0
    for image in IMAGES:
        files = written(tmp_path, image, channels)
        expected = auto3dseg_says(config, files)
        found = segment(model, [read_image(file) for file in files]).labelmap.array
        assert len(np.unique(expected)) > 2
        differing += int((found != expected).sum())
        total += expected.size
    print(f"{mode}: {differing} of {total} voxels differ")
    assert differing <= DIFFERING * total


def test_labels_have_the_names_and_codes_of_the_table(tmp_path):
    folder = write_model(tmp_path / "abdominal-organs-v2.0.0", CONFIG)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"abdominal-organs-v2.0.0/{file.name}")
    with pytest.raises(LLMBoostError, match=r"tells no license.*--license"):
        import_foreign(tmp_path / "model.zip")
    card = import_foreign(tmp_path / "model.zip", terms="CC BY 4.0")
    liver, spleen = read_card(find("abdominal-organs-v2.0.0")).labels
    assert (liver.value, liver.name, liver.type.value) == (1, "Liver", "10200004")
    assert (spleen.value, spleen.name) == (2, "Spleen")
    assert (card.origin.program, card.modality, card.license) == ("MONAI Auto3DSeg", "CT", "CC BY 4.0")
    assert list(card.origin.digests) == ["model.pt"]


def test_folds_of_a_work_folder(tmp_path):
    for fold in range(2):
        write_model(tmp_path / "work" / f"segresnet_{fold}" / "model", CONFIG, fold, table="")
    one = import_foreign(tmp_path / "work", terms="CC0", name="one")
    both = import_foreign(tmp_path / "work", terms="CC0", name="both", folds="all")
    assert [label.name for label in one.labels] == ["front", "back"]
    assert (both.is_ensemble, both.network["members"]) == (True, 2)
    image = torch.rand(1, 1, 24, 32, 16)
    with torch.no_grad():
        expected = sum(network_of(CONFIG, fold)(image) for fold in range(2)) / 2
        assert (load_model(find("both")).network(image) - expected).abs().max() < 1e-5
    with pytest.raises(LLMBoostError, match="no fold 2; there are 0, 1"):
        import_foreign(tmp_path / "work", terms="CC0", name="three", folds="2")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"network": {"_target_": "os.system", "command": "true"}}, "network os.system is not supported"),
        ({"network": {**CONFIG["network"], "act": "$__import__('os')"}}, r"has act \$__import__"),
        ({"network": {**CONFIG["network"], "blocks_down": [10**9]}}, "blocks_down 1000000000"),
        ({"network": {"_target_": "DiNTS"}}, "network DiNTS is not supported"),
        ({"normalize_mode": "my own"}, "normalization my own is not known"),
        ({"roi_size": [0, 1, 1]}, "patch size"),
        ({"roi_size": None}, "config is damaged"),
        ({"sigmoid": True}, "3 outputs overlap"),
        ({"extra_modalities": {"image2": "mri"}}, "takes 1 channels, its config names 2"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_the_reason(tmp_path, library_folder, entries, reason):
    folder = write_model(tmp_path / "model", CONFIG)
    content = read_checkpoint(folder / "model.pt")
    torch.save({**content, "config": {**CONFIG, **entries}}, folder / "model.pt")
    with pytest.raises(LLMBoostError, match=reason) as refused:
        import_foreign(folder, terms="CC0")
    assert "\n" not in str(refused.value)
    assert not library_folder.exists()
