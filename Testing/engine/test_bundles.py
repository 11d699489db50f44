"""MONAI's bundles become models of ours, which answer as MONAI does; what would do harm is refused."""

import json
import zipfile

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import torch

from llmboost.errors import LLMBoostError
from llmboost.explanation import ExplanationSpec
from llmboost.foreign import import_foreign
from llmboost.inference.classify import classify
from llmboost.inference.segment import segment
from llmboost.io.image import read_image, read_volumes
from llmboost.library import find
from llmboost.model import load_model

from .bundle_samples import (
    LOAD,
    SEGMENTERS,
    SOFTMAX,
    UNET,
    inverted,
    monai_says,
    parser_of,
    sliding,
    step,
    write_bundle,
)

DIFFERING = 1e-4  # of the voxels, at most
IMAGES = {  # sizes, spacing, how the axes run in the patient
    "finer": ((40, 52, 36), (0.9, 1.0, 1.2), (1, 1, 1)),
    "turned": ((33, 47, 29), (1.4, 0.7, 1.9), (-1, -1, 1)),
}

pytestmark = pytest.mark.usefixtures("library_folder")


def written(folder, image, channels):
    """Files of smooth noise, empty around."""
    size, spacing, senses = IMAGES[image]
    files = []
    for n in range(channels):
        noise = torch.randn(1, 1, *(-(-side // 4) for side in size), generator=torch.Generator().manual_seed(n))
        array = torch.nn.functional.interpolate(noise, size, mode="trilinear")[0, 0].numpy() * 120 + 150
        array[:4], array[:, -7:] = 0, 0
        files.append(folder / f"{image}_{n}.nii.gz")
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.diag([*np.multiply(spacing, senses), 1])), files[-1])
    return files


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_the_labels_are_those_of_monai(tmp_path, kind):
    made = SEGMENTERS[kind]
    bundle = write_bundle(tmp_path / "sample_bundle", made)
    model = load_model(find(import_foreign(bundle).name))
    differing = total = 0
    for image in IMAGES if kind != "of all at once" else ["finer"]:
        files = written(tmp_path, image, made.get("channels", 1))
        expected = monai_says(bundle, files)
        found = segment(model, [read_image(file) for file in files]).labelmap.array
        assert len(np.unique(expected)) > 2
        differing += int((found != expected).sum())
        total += expected.size
    print(f"{kind}: {differing} of {total} voxels differ")
    assert differing <= DIFFERING * total


@pytest.mark.parametrize("kind", ["as spleen", "as whole body"])
def test_the_labels_in_a_real_image_are_those_of_monai(tmp_path, data_root, kind):
    folder = data_root / "Task04_Hippocampus"
    case = json.loads((folder / "splits.json").read_text())["val"][0]
    file = folder / "imagesTr" / f"{case}.nii.gz"
    bundle = write_bundle(tmp_path / "sample", SEGMENTERS[kind])
    expected = monai_says(bundle, [file])
    found = segment(load_model(find(import_foreign(bundle).name)), [read_image(file)]).labelmap.array
    assert len(np.unique(expected)) > 2
    assert (found != expected).sum() <= DIFFERING * expected.size


PICTURES = {  # sizes and classes apart, as the bundles of endoscopic pictures
    "segmented": {
        "network": {
            "_target_": "FlexibleUNet",
            "in_channels": 3,
            "out_channels": 2,
            "backbone": "efficientnet-b0",
            "spatial_dims": 2,
            "pretrained": False,
            "is_pad": False,
            "pre_conv": None,
        },
        "preprocessing": [
            LOAD[0],
            step("EnsureChannelFirstd", channel_dim=-1),
            step("Resized", spatial_size=[96, 64], mode=["bilinear"]),
            step("ScaleIntensityd"),
        ],
        "postprocessing": [
            inverted(nearest=False),
            step("AsDiscreted", "pred", argmax=True, to_onehot=2),
            step("Lambdad", "pred", func="$lambda x : x[1:]"),
        ],
    },
    "classified": {
        "network": {"_target_": "SEResNet50", "spatial_dims": 2, "in_channels": 3, "num_classes": 2},
        "preprocessing": [
            LOAD[0],
            step("EnsureChannelFirstd", channel_dim=-1),
            step("Resized", spatial_size=[64, 64], mode="bilinear"),
            step("CastToTyped", dtype="$torch.float32"),
            step("NormalizeIntensityd", nonzero=True, channel_wise=True),
        ],
        "postprocessing": [step("AsDiscreted", "pred", argmax=True, to_onehot=2)],
    },
    "gray": {
        "network": {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 4},
        "preprocessing": [*LOAD, step("ScaleIntensityd")],
        "postprocessing": [SOFTMAX],
    },
}


def picture(folder, color):
    """A file of smooth noise, 80 x 72 pixels, or gray ones of 64 x 64."""
    size = (72, 80, 3) if color else (64, 64)
    noise = torch.rand(1, 3 if color else 1, 9, 8, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(noise, size[:2], mode="bilinear")[0].permute(1, 2, 0).squeeze(-1)
    PIL.Image.fromarray((smooth * 255).numpy().astype(np.uint8)).save(folder / "picture.png")
    return folder / "picture.png"


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_get_the_answers_of_monai(tmp_path, kind):
    made, color = PICTURES[kind], kind != "gray"
    classes = 4 if kind == "gray" else 2
    told = {
        "inferer": {"_target_": "SimpleInferer"},
        "channels": 3 if color else 1,
        "classes": classes,
        "names": ["background", "circle", "triangle", "square"][:classes],
        "input": {"modality": "none", "spatial_shape": [64, 64], **({"format": "RGB"} if color else {})},
    }
    bundle = write_bundle(tmp_path / "pictures", {**made, **told})
    model = load_model(find(import_foreign(bundle).name))
    file = picture(tmp_path, color)
    assert model.card.preprocessing.color == color
    images = read_volumes(file, color=color)
    if kind == "segmented":
        expected = monai_says(bundle, [file])
        found = segment(model, images).labelmap.array[..., 0]
        assert len(np.unique(expected)) == 2
        assert (found != expected).sum() <= DIFFERING * expected.size
        return
    parser = parser_of(bundle)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    with torch.no_grad():
        logits = network(parser.get_parsed_content("preprocessing")({"image": str(file)})["image"][None])
    found = classify(model, images)
    assert np.abs(found.probabilities - logits.softmax(dim=1)[0].numpy()).max() < 1e-5
    assert found.decision == (told["names"][int(logits.argmax())],)
    assert classify(model, images, explain=ExplanationSpec()).explanation.map.array.max() > 0


NETWORKS = {
    "UNet": UNET,
    "AttentionUnet": {"spatial_dims": 3, "in_channels": 1, "channels": [8, 16, 32], "strides": [2, 2]},
    "BasicUNet": {"features": [8, 8, 8, 8, 16, 8]},
    "SegResNetDS": {"init_filters": 8, "dsdepth": 2},
    "SwinUNETR": {"img_size": 64, "in_channels": 1, "feature_size": 12, "use_checkpoint": False},
    "UNETR": {"in_channels": 1, "img_size": 32, "feature_size": 4, "hidden_size": 48, "mlp_dim": 48, "num_heads": 4},
    "VNet": {"in_channels": 1},
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_say_what_they_said_before_and_tell_where_they_looked(tmp_path, kind):
    size = 64 if kind == "SwinUNETR" else 32
    network = {"out_channels": 3, **NETWORKS[kind], "_target_": kind}
    made = {"network": network, "inferer": sliding(roi_size=[size] * 3)}
    bundle = write_bundle(tmp_path / kind, made, weights=False)
    parser = parser_of(bundle)
    parser["network_def"].pop("img_size" if kind == "SwinUNETR" else "none", None)
    original = parser.get_parsed_content("network_def").eval()
    torch.save({"state_dict": original.state_dict(), "epoch": 1}, bundle / "models" / "model.pt")
    model = load_model(find(import_foreign(bundle).name))
    image = torch.randn(1, 1, size, size, size)
    with torch.no_grad(), model.network.before_booster.listen() as heard:
        assert torch.equal(model.network(image), original(image))
    assert [len(grid.shape) for grid in heard] == [5]
    assert model.card.network["kind"] == kind


@pytest.mark.parametrize("kind", ["as spleen", "as pediatric", "slice by slice", "of all at once"])
def test_where_a_model_looked(tmp_path, kind):
    made = SEGMENTERS[kind]
    model = load_model(find(import_foreign(write_bundle(tmp_path / "sample", made)).name))
    image = read_image(written(tmp_path, "finer", 1)[0])
    found = segment(model, [image], explain=ExplanationSpec(target=1), probabilities=True, entropy=True)
    assert found.explanation.map.array.max() > 0
    assert np.abs(found.probabilities.array.sum(axis=0) - 1).max() < 1e-3 or kind == "as pediatric"
    assert 0 <= found.entropy.array.min() <= found.entropy.array.max() <= 1


@pytest.mark.parametrize("level", ["", "configs", "models", "..", "models/model.pt", "zip"])
def test_any_level_of_the_folder_or_a_zip_of_it(tmp_path, level):
    bundle = write_bundle(tmp_path / "bundles" / "Sample_Bundle", {})
    path = bundle / level
    if level == "zip":
        path = tmp_path / "sample.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in bundle.rglob("*.*"):
                archive.write(file, file.relative_to(bundle.parent))
            archive.write(bundle / "LICENSE", "Sample_Bundle/LICENSE")
            archive.writestr("Sample_Bundle/scripts/__init__.py", "raise SystemExit('run')")
    card = import_foreign(path)
    assert (card.name, card.license, card.modality, card.citation) == ("sample_bundle", "Apache-2.0", "MR", "made up")
    assert card.title == "A sample (MONAI bundle 0.1.0)"
    assert [(label.value, label.name) for label in card.labels] == [(1, "front"), (2, "back")]
    assert (card.preprocessing.orientation, card.preprocessing.patch_size) == ("RAS", (24, 32, 16))
    assert (card.origin.program, list(card.origin.digests)) == ("MONAI bundle", ["models/model.pt"])
    assert card.doubts == ""


def test_bundles_on_this_machine_are_listed_and_imported(tmp_path, monkeypatch, llmboost):
    for name in ("nnUNet_results", "TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MONAI_DATA_DIRECTORY", str(tmp_path / "bundles"))
    bundle = write_bundle(tmp_path / "bundles" / "Sample", {})
    (bundle / "docs").mkdir()
    (bundle / "docs" / "data_license.txt").write_text("i. Some Challenge\n   http://example.org/\n")
    told = llmboost("models", "import", bundle, "--name", "mine").err.replace("\n", " ")
    assert "license: Apache-2.0; images are taken turned to R, A, S" in told
    assert "its data have terms of their own: i. Some Challenge" in told
    shown = llmboost("models", "find").out.replace("\n", "")
    assert shown.count("MONAI bundle") == shown.count("mine") == 1


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ("MIT License\n\nCopyright (c) 2023", "MIT"),
        (
            "Code License\n\nThis license applies to all files except the model weights",
            "tells its license as 'Code License'",
        ),
        ("Private Use, Non-Commercial, Non-Reverse-Engineering License\n", "'Private Use, Non-Commercial"),
        (" ", "tells no license"),
    ],
)
def test_the_license_is_told_or_asked_for(tmp_path, terms, told):
    bundle = write_bundle(tmp_path / "sample", {}, terms)
    if told == "MIT":
        assert import_foreign(bundle).license == "MIT"
        return
    with pytest.raises(LLMBoostError, match=f"{told}.*--license"):
        import_foreign(bundle)
    assert import_foreign(bundle, terms="as agreed").license == "as agreed"
