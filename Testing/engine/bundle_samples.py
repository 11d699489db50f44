"""Bundles as the model zoo has them, with small networks of random weights; and what MONAI itself says with them."""

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from monai.transforms import KeepLargestConnectedComponentd as LargestPieces
from monai.utils import optional_import
from scipy import ndimage

APACHE = "\n                                 Apache License\n                           Version 2.0, January 2004\n"
IMAGE, PRED = "@image_key", "pred"
LOAD = [{"_target_": "LoadImaged", "keys": IMAGE}, {"_target_": "EnsureChannelFirstd", "keys": IMAGE}]
RAS = {"_target_": "Orientationd", "keys": IMAGE, "axcodes": "RAS"}
SPACING = {"_target_": "Spacingd", "keys": IMAGE, "pixdim": [1.3, 0.8, 1.7], "mode": "bilinear"}
CT = {
    "_target_": "ScaleIntensityRanged",
    "keys": IMAGE,
    "a_min": -57,
    "a_max": 364,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}
SOFTMAX = {"_target_": "Activationsd", "keys": PRED, "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": PRED, "argmax": True}
BRATS = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "@classes",
    "channels": [8, 16, 32],
    "strides": [2, 2],
    "num_res_units": 2,
    "norm": "batch",
}


_, has_skimage = optional_import("skimage.measure")


def step(target, keys=IMAGE, **arguments):
    """A component of a config."""
    return {"_target_": target, "keys": keys, **arguments}


def inverted(nearest):
    """The step that brings predictions back to the image as it is stored."""
    return step("Invertd", PRED, transform="@preprocessing", orig_keys=IMAGE, nearest_interp=nearest, to_tensor=True)


def sliding(**arguments):
    """An inferer."""
    return {"_target_": "SlidingWindowInferer", "roi_size": [24, 32, 16], "sw_batch_size": 4, **arguments}


SEGMENTERS = {
    "as spleen": {},
    "as whole body": {
        "network": {"_target_": "SegResNet", "init_filters": 8, "out_channels": "@classes", "dropout_prob": 0.2},
        "preprocessing": [
            *LOAD,
            RAS,
            {**SPACING, "pixdim": "@pixdim"},
            step("NormalizeIntensityd", nonzero=True),
            step("ScaleIntensityd", minv=-1.0, maxv=1.0),
        ],
        "inferer": sliding(overlap="@told#overlap", mode="gaussian", padding_mode="replicate"),
        "postprocessing": [SOFTMAX, ARGMAX, inverted(nearest=True)],
        "entries": {"fine": False, "pixdim": "$[1.5] * 3 if @fine else [1.1, 1.7, 1.3]", "told": {"overlap": 0.25}},
    },
    "as pediatric": {
        "network": {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": "$len(@patch)",
            "in_channels": 1,
            "out_channels": "@classes",
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, [2, 2, 1]],
            "upsample_kernel_size": [2, [2, 2, 1]],
            "filters": [8, 16, 32],
            "norm_name": "instance",
            "deep_supervision": False,
            "res_block": True,
        },
        "preprocessing": [
            *LOAD,
            RAS,
            SPACING,
            {**CT, "a_min": 150},
            step("CropForegroundd", source_key=IMAGE, mode=["minimum"]),
        ],
        "inferer": sliding(overlap=0.75),
        "entries": {"patch": [24, 32, 16]},
        "yaml": True,
    },
    "turned to LPS": {"preprocessing": [*LOAD, {**RAS, "axcodes": "LPS"}, SPACING, CT]},
    "turned to PLI": {"preprocessing": [*LOAD, {**RAS, "axcodes": "PLI"}, SPACING, CT]},
    "as prostate": {
        "preprocessing": [  # a spacing at which no voxel lies in the middle between two of the network's
            *LOAD,
            RAS,
            {**SPACING, "pixdim": [1.1, 1.7, 1.3]},
            step("ScaleIntensityd", minv=0, maxv=1),
            step("NormalizeIntensityd"),
        ],
        "postprocessing": [
            ARGMAX,
            step("KeepLargestConnectedComponentd", PRED, applied_labels=[1, 2]),
            inverted(nearest=True),
        ],
    },
    "as BraTS": {
        "network": {
            "_target_": "SegResNet",
            "init_filters": 8,
            "in_channels": 4,
            "out_channels": 3,
            "norm_name": "group",
        },
        "preprocessing": [LOAD[0], step("NormalizeIntensityd", nonzero=True, channel_wise=True)],
        "postprocessing": [
            step("Activationsd", PRED, sigmoid=True),
            inverted(nearest=False),
            step("AsDiscreted", PRED, threshold=0.5),
            step("Lambdad", PRED, func=BRATS),
        ],
        "channels": 4,
        "classes": 3,
        "names": ["Tumor core", "Whole tumor", "Enhancing tumor"],
    },
    "of all at once": {
        "preprocessing": "$@transforms",
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": [SOFTMAX, ARGMAX],
        "entries": {"transforms": [*LOAD, step("ScaleIntensityd")]},
    },
    "slice by slice": {
        "network": {**UNET, "spatial_dims": 2},
        "preprocessing": [*LOAD, step("ScaleIntensityd")],
        "inferer": {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2},
    },
    "by percentiles": {
        "preprocessing": [
            *LOAD,
            step("CropForegroundd", source_key=IMAGE, margin=3, allow_smaller=True),
            RAS,
            SPACING,
            step("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=-1, b_max=1, clip=True),
        ],
        "inferer": sliding(roi_size=[40, 24, 24], overlap=[0.5, 0.5, 0.5]),
        "postprocessing": [inverted(nearest=False), SOFTMAX, ARGMAX],
    },
}


def write_bundle(folder, made, terms=APACHE, *, weights=True):
    """A bundle's folder; with ``weights``, random ones of its network.

    Args:
        made: what differs from the first of ``SEGMENTERS``: ``network``, ``preprocessing``, ``inferer``,
            ``postprocessing``; further ``entries`` of the config; the number of ``channels`` and of ``classes``,
            their ``names``; whether its config is ``yaml``.
    """
    folder = Path(folder)
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    channels, classes = made.get("channels", 1), made.get("classes", 3)
    post = made.get("postprocessing", [SOFTMAX, inverted(nearest=False), ARGMAX])
    config = {
        "imports": ["$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "classes": classes,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": made.get("network", UNET),
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": made.get("preprocessing", [*LOAD, RAS, SPACING, CT, step("EnsureTyped")]),
        },
        "inferer": made.get("inferer", sliding(overlap=0.5)),
        "postprocessing": {"_target_": "Compose", "transforms": post},
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "CheckpointLoader",
                "load_path": made.get("load_path", "$@bundle_root + '/models/model.pt'"),
                "load_dict": {"model": "@network"},
            },
        ],
        "run": ["$@evaluator.run()"],
        **made.get("entries", {}),
    }
    names = made.get("names", ["background", "front", "back", "rest"][:classes])
    metadata = {
        "version": "0.1.0",
        "name": "A sample",
        "task": "Sample segmentation",
        "references": ["made up"],
        "network_data_format": {
            "inputs": {"image": {"modality": "MR", "num_channels": channels, **made.get("input", {})}},
            "outputs": {"pred": {"channel_def": {str(n): name for n, name in enumerate(names)}}},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    text = yaml.safe_dump(config) if made.get("yaml") else json.dumps(config)
    (folder / "configs" / ("inference.yaml" if made.get("yaml") else "inference.json")).write_text(text)
    (folder / "LICENSE").write_text(terms)
    if weights:
        torch.save(network_of(folder, channels).state_dict(), folder / "models" / "model.pt")
    return folder


def parser_of(folder):
    """MONAI's own reader of a bundle's config, which runs what stands in it."""
    parser = ConfigParser()
    (config,) = folder.glob("configs/inference.*")
    parser.read_config(config)
    network = parser["network_def"]
    kind = network["_target_"].rpartition(".")[2]
    if kind == "SegResNet":  # as MONAI's earlier versions took it
        network.pop("norm_name", None)
    return parser


def network_of(folder, channels):
    """A bundle's network, its weights random, and no class everywhere."""
    torch.manual_seed(3)
    network = parser_of(folder).get_parsed_content("network_def").eval()
    flat = parser_of(folder).get_parsed_content("network_def#spatial_dims", default=3) == 2
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        found = network(torch.rand(1, channels, *((64, 64) if flat else (32, 32, 32))))
        if found.ndim > 2:
            last = [one for one in network.modules() if getattr(one, "out_channels", 0) == found.shape[1]][-1]
            last.bias -= found.mean(dim=(0, *range(2, found.ndim)))
    return network


def monai_says(folder, files):
    """The label map [i, j, k] of an image by MONAI's own transforms and inferer."""
    parser = parser_of(folder)
    before, after = parser.get_parsed_content("preprocessing"), parser.get_parsed_content("postprocessing")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    case = before({"image": [str(file) for file in files] if len(files) > 1 else str(files[0])})
    with torch.no_grad():
        found = parser.get_parsed_content("inferer")(case["image"][None], network)[0]
    assert isinstance(found, MetaTensor)
    if not has_skimage:
        after = Compose([largest_pieces if isinstance(one, LargestPieces) else one for one in after.transforms])
    return np.asarray(after({"image": case["image"], "pred": found})["pred"])[0]


def largest_pieces(case):
    """What MONAI's KeepLargestConnectedComponentd does with labels 1 and 2, for which it needs scikit-image."""
    for value in (1, 2):
        pieces, _ = ndimage.label(np.asarray(case[PRED][0]) == value, np.ones((3, 3, 3)))
        largest = np.bincount(pieces.ravel())[1:].argmax() + 1
        case[PRED][0][torch.from_numpy((pieces > 0) & (pieces != largest))] = 0
    return case
