"""Folders as nnU-Net v2 writes them, with random weights."""

import json
from pathlib import Path

import numpy as np
import torch

from llmboost.networks import build

AXES = (2, 1, 0)  # of each of our axes, the network's, where nothing is transposed
STAGES = {"kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)), "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2))}
PATCH = (12, 16, 20)  # z, y, x


def nnunet_network(classes=3, channels=1, seed=0, *, residual=False, flat=False):
    """One of our networks on nnU-Net's axes: z, y, x, of one voxel along z where it is a 2D one."""
    torch.manual_seed(seed)
    sizes = {name: tuple((1, *size[1:]) if flat else size for size in sizes) for name, sizes in STAGES.items()}
    options = {"features": (4, 8, 8), "blocks": (1, 2, 2), "decoder_convs": (1, 2), **sizes}
    name = "residual-encoder-unet" if residual else "plain-conv-unet"
    network = build(name, {"channels": channels, "classes": classes, **options}, None).eval()
    with torch.no_grad():
        network.head.weight -= network.head.weight.mean(dim=1, keepdim=True)  # no class is everywhere
        network.head.bias.zero_()
    return network


def nnunet_state(network, *, flat=False):
    """Its weights under the names that nnU-Net gives them, each under two or three."""
    state = {}
    for name, tensor in network.state_dict().items():
        tensor = tensor[:, :, 0] if flat and tensor.ndim == 5 else tensor
        if name.startswith("head."):
            state[name.replace("head", "decoder.seg_layers.1")] = tensor
            coarser = tensor.repeat(1, 2, *(1,) * (tensor.ndim - 2)) if tensor.ndim > 1 else tensor
            state[name.replace("head", "decoder.seg_layers.0")] = coarser  # of deep supervision, on twice the features
            continue
        if name.startswith("encoder.stages") and ".blocks." not in name:
            stage, _, rest = name.removeprefix("encoder.stages.").partition(".")
            name = f"encoder.stages.{stage}.0.{rest}"
        again = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for one in {name, again}:
            state[one] = tensor
            if name.startswith("encoder"):
                state[f"decoder.{one}"] = tensor
    return state


def plans_of(network, *, flat=False, **configuration):
    """plans.json of a network."""
    config, kept = network.config, slice(1 if flat else 0, None)
    residual = "Residual" in type(config).__name__
    name, dimensions = ("2d", "2d") if flat else ("3d_fullres", "3d")
    kind = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    layers = f"torch.nn.modules.{{}}{dimensions}"
    resampling = {
        f"resampling_fn_{what}{end}": value
        for what, order in (("data", 3), ("seg", 1), ("probabilities", 1))
        for end, value in (
            ("", "resample_data_or_seg_to_shape"),
            ("_kwargs", {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}),
        )
    }
    channels = config.channels
    own = {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": list(PATCH[kept]),
        "spacing": [1.5, 1.25, 1.0][kept],
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        **resampling,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
            "arch_kwargs": {
                "n_stages": len(config.features),
                "features_per_stage": list(config.features),
                "conv_op": layers.format("conv.Conv"),
                "kernel_sizes": [list(size[kept]) for size in config.kernels],
                "strides": [list(size[kept]) for size in config.strides],
                "n_blocks_per_stage" if residual else "n_conv_per_stage": list(config.blocks),
                "n_conv_per_stage_decoder": list(config.decoder_convs),
                "conv_bias": True,
                "norm_op": layers.format("instancenorm.InstanceNorm"),
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        **configuration,
    }
    figures = {"mean": 40.0, "std": 20.0, "percentile_00_5": -10.0, "percentile_99_5": 90.0}
    return {
        "dataset_name": "Dataset007_Test_Organ",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "original_median_spacing_after_transp": [3.0, 1.25, 1.0],
        "foreground_intensity_properties_per_channel": {str(n): figures for n in range(channels)},
        "configurations": {name: own},
    }


def write_results(folder, networks, plans=None, mirror=None, *, flat=False, **dataset):
    """A folder of results; returns the configuration's.

    Args:
        networks: by fold.
        mirror: the axes that the training allows to mirror.
        dataset: fields of dataset.json.
    """
    some = next(iter(networks.values()))
    plans = plans or plans_of(some, flat=flat)
    (configuration,) = plans["configurations"]
    results = Path(folder) / "Dataset007_Test_Organ" / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    results.mkdir(parents=True)
    labels = {"background": 0, "left_part": 1, "right part": 2}
    channels = {str(n): "MRI" for n in range(some.config.channels)}
    content = {"channel_names": channels, "labels": labels, "file_ending": ".nii.gz", **dataset}
    (results / "plans.json").write_text(json.dumps(plans))
    (results / "dataset.json").write_text(json.dumps(content))
    for fold, network in networks.items():
        (results / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": nnunet_state(network, flat=flat),
            "optimizer_state": {},
            "init_args": {"configuration": configuration, "fold": fold, "device": torch.device("cpu")},
            "trainer_name": "nnUNetTrainer",
            "_best_ema": np.float32(0.5),
            "logging": {"ema": [np.float64(0.25)]},
            "inference_allowed_mirroring_axes": mirror,
        }
        torch.save(checkpoint, results / f"fold_{fold}" / "checkpoint_final.pth")
    return results
