"""Imported models answer as nnU-Net itself does: its own predictor, where it is installed, on the same images."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from llmboost.foreign import import_foreign
from llmboost.inference.segment import segment
from llmboost.io.image import read_image
from llmboost.library import find
from llmboost.model import load_model

from .nnunet_samples import nnunet_network, plans_of, write_results

DIFFERING = 1e-4  # of the voxels, at most
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]},
    "regions_class_order": [2, 1, 3],
}
MODELS = {
    "plain": {},
    "residual": {"network": {"residual": True}},
    "2d": {"network": {"flat": True}},
    "transposed": {"plans": {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}},
    "2d, transposed": {
        "network": {"flat": True},
        "plans": {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]},
    },
    "reoriented": {"plans": {"image_reader_writer": "NibabelIOWithReorient"}},
    "regions": {"network": {"channels": 2, "classes": 3}, "dataset": REGIONS},
    "CT": {"configuration": {"normalization_schemes": ["CTNormalization"]}},
    "masked": {"configuration": {"use_mask_for_norm": [True]}},
    "range": {"configuration": {"normalization_schemes": ["RescaleTo01Normalization"]}},
    "thick": {"configuration": {"spacing": [6.0, 1.25, 1.0]}},
}
IMAGES = {
    "as the plan": ((30, 40, 26), (1.0, 1.25, 1.5)),
    "finer": ((61, 50, 33), (0.6, 0.7, 0.8)),
    "thick slices": ((40, 44, 9), (0.9, 0.8, 4.1)),
    "thick along i": ((10, 44, 40), (3.7, 1.1, 1.0)),
}


@pytest.fixture(scope="module")
def nnunet(tmp_path_factory):
    """``nnunet(results, folds, mirror)`` gives a predictor: of files, [i, j, k]."""
    module = pytest.importorskip("nnunetv2.inference.predict_from_raw_data", reason="nnunetv2 is not installed")

    def load(results, folds, mirror):
        predictor = module.nnUNetPredictor(
            use_mirroring=mirror, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
        )
        predictor.initialize_from_trained_model_folder(str(results), folds, "checkpoint_final.pth")
        folder = tmp_path_factory.mktemp("predictions")

        def predict(files):
            with pytest.MonkeyPatch.context() as patch:  # it adds up in half precision, which random weights lie below
                patch.setattr(torch, "half", torch.float32)
                predictor.predict_from_files_sequential([list(map(str, files))], [str(folder / "found")])
            return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "found.nii.gz"))).transpose()

        return predict

    return load


def written(folder, image, channels):
    """Files of smooth noise, of another direction than usual, and empty around."""
    size, spacing = IMAGES[image]
    files = []
    for n in range(channels):
        noise = torch.randn(1, 1, *(-(-side // 5) for side in size), generator=torch.Generator().manual_seed(n))
        array = torch.nn.functional.interpolate(noise, size, mode="trilinear")[0, 0].numpy() * 30 + 50
        array = np.pad(array, ((2, 0), (1, 3), (0, 1)))
        array[:6, :6] = 0
        one = sitk.GetImageFromArray(array.transpose())
        one.SetSpacing(spacing)
        one.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
        files.append(folder / f"case_{n:04d}.nii.gz")
        sitk.WriteImage(one, str(files[-1]))
    return files


@pytest.mark.slow
@pytest.mark.usefixtures("library_folder")
@pytest.mark.parametrize("folds", [(0,), (0, 1)])
@pytest.mark.parametrize("kind", MODELS)
def test_the_labels_are_those_of_nnunet(nnunet, tmp_path, kind, folds):
    made = MODELS[kind]
    networks = {fold: nnunet_network(seed=fold, **made.get("network", {})) for fold in folds}
    flat = made.get("network", {}).get("flat", False)
    plans = plans_of(networks[0], flat=flat, **made.get("configuration", {})) | made.get("plans", {})
    mirror = len(folds) > 1
    axes = (0, 1) if mirror else None
    results = write_results(tmp_path / "results", networks, plans, axes, flat=flat, **made.get("dataset", {}))
    theirs = nnunet(results, folds, mirror)
    ours = load_model(find(import_foreign(results, terms="CC0", folds="0,1" if mirror else "0").name))
    differing = total = 0
    for image in IMAGES:
        files = written(tmp_path, image, networks[0].config.channels)
        expected, found = theirs(files), segment(ours, [read_image(file) for file in files], mirror=mirror)
        assert len(np.unique(expected)) > 1
        differing += int((found.labelmap.array != expected).sum())
        total += expected.size
    print(f"{kind}, folds {folds}: {differing} of {total} voxels differ")
    assert differing <= DIFFERING * total
