"""nnU-Net's folders become models of ours, which answer as the originals do; what would do harm is refused."""

import json
import os
import shutil
import stat
import zipfile

import numpy as np
import pytest
import torch

from llmboost.card import Card, Preprocessing, Tiling, read_card
from llmboost.ensemble import combine
from llmboost.errors import LLMBoostError
from llmboost.explanation import ExplanationSpec
from llmboost.foreign import import_foreign
from llmboost.foreign.checkpoint import read_checkpoint
from llmboost.inference.segment import segment
from llmboost.io.image import Image, to_canonical
from llmboost.library import find
from llmboost.model import load_model

from .nnunet_samples import PATCH, nnunet_network, plans_of, write_results

TERMS = "CC-BY 4.0"
LPS = np.diag([-1.0, -1.0, 1.0])

pytestmark = pytest.mark.usefixtures("library_folder")


@pytest.fixture
def results(tmp_path):
    """A configuration's folder with one fold."""
    return write_results(tmp_path / "results", {0: nnunet_network()})


def volume(shape, spacing, seed=1, direction=LPS):
    """Smooth noise, as an image."""
    noise = torch.randn(1, 1, *(-(-n // 4) for n in shape), generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, shape, mode="trilinear")[0, 0]
    return Image(smooth.numpy() * 100 + 300, spacing, (0, 0, 0), direction)


def imported(path, **options):
    """The model that is made of a folder."""
    card = import_foreign(path, **{"terms": TERMS, **options})
    return load_model(find(card.name))


def logits_of(network, arrays):
    """What a network on nnU-Net's axes says of arrays [k, j, i]: standardized, as one patch; [classes, i, j, k]."""
    scaled = np.stack([(array - array.mean()) / array.std() for array in arrays])
    with torch.no_grad():
        found = network(torch.from_numpy(scaled.astype(np.float32))[None])[0]
    return found.numpy().transpose(0, 3, 2, 1)


@pytest.mark.parametrize("level", ["", "..", "fold_0", "../..", "plans.json", "zip"])
def test_any_level_of_the_folder_or_a_zip_of_it(results, tmp_path, level):
    path = results / level
    if level == "zip":
        path = tmp_path / "results.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in results.rglob("*.*"):
                archive.write(file, file.relative_to(results.parents[1]))
            archive.writestr("Dataset007_Test_Organ/readme.txt", "not needed")
    model = imported(path)
    card = model.card
    assert (card.name, card.license, card.modality) == ("test_organ-3d_fullres", TERMS, "MR")
    assert [(label.value, label.name) for label in card.labels] == [(1, "left part"), (2, "right part")]
    assert card.preprocessing.spacing == (1.0, 1.25, 1.5)
    assert card.preprocessing.patch_size == PATCH[::-1]
    assert card.origin.program == "nnU-Net v2"
    assert list(card.origin.digests) == ["fold_0/checkpoint_final.pth"]
    assert card.doubts == ""


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("direction", [LPS, np.eye(3), np.diag([1.0, -1.0, -1.0])])
def test_an_image_is_segmented_as_it_is_stored(tmp_path, residual, direction):
    network = nnunet_network(residual=residual)
    write_results(tmp_path / "results", {0: network})
    image = volume(PATCH[::-1], (1.0, 1.25, 1.5), direction=direction)
    expected = logits_of(network, [image.array.transpose()]).argmax(axis=0)
    found = segment(imported(tmp_path / "results"), [image])
    assert np.array_equal(found.labelmap.array, expected)
    assert len(np.unique(expected)) > 1


def test_labels_get_the_codes_and_colors_that_their_names_say(tmp_path):
    labels = {"background": 0, "kidney_left": 1, "something": 2}
    write_results(tmp_path / "results", {0: nnunet_network()}, labels=labels)
    kidney, other = imported(tmp_path / "results").card.labels
    assert (kidney.type.value, kidney.modifier.meaning, kidney.guessed) == ("64033007", "Left", True)
    assert (other.type.meaning, other.guessed) == ("Tissue", False)


def test_images_that_the_reader_turns_are_turned(tmp_path):
    network = nnunet_network()
    plans = plans_of(network) | {"image_reader_writer": "NibabelIOWithReorient"}
    write_results(tmp_path / "results", {0: network}, plans)
    image = volume(PATCH[::-1], (1.0, 1.25, 1.5), direction=LPS)  # stored to the left and back
    turned = to_canonical(image).array.transpose()
    expected = logits_of(network, [turned]).argmax(axis=0)
    found = segment(imported(tmp_path / "results"), [image])
    assert np.array_equal(to_canonical(found.labelmap).array, expected)


@pytest.mark.parametrize("forward", [[1, 0, 2], [2, 0, 1]])
def test_axes_that_the_plans_transpose(tmp_path, forward):
    network = nnunet_network()
    plans = plans_of(network) | {"transpose_forward": forward, "transpose_backward": np.argsort(forward).tolist()}
    write_results(tmp_path / "results", {0: network}, plans)
    array = volume(PATCH, (1, 1, 1)).array  # on the network's axes
    back = np.argsort(forward)
    spacing = np.array([1.5, 1.25, 1.0])[back][::-1]
    image = Image(array.transpose(back).transpose(), tuple(spacing), (0, 0, 0), LPS)
    expected = logits_of(network, [array]).argmax(axis=0).transpose().transpose(back).transpose()
    found = segment(imported(tmp_path / "results"), [image])
    assert np.array_equal(found.labelmap.array, expected)


def test_a_2d_network_goes_slice_by_slice(tmp_path):
    network = nnunet_network(flat=True)
    write_results(tmp_path / "results", {0: network}, flat=True)
    image = volume((20, 16, 5), (1.0, 1.25, 4.0))
    scaled = (image.array - image.array.mean()) / image.array.std()
    with torch.no_grad():
        slices = [network(torch.from_numpy(scaled[:, :, k].T.copy())[None, None, None]) for k in range(5)]
    expected = np.stack([one[0, :, 0].argmax(dim=0).numpy().T for one in slices], axis=2)
    model = imported(tmp_path / "results")
    assert model.card.preprocessing.slice_axis == 2
    assert np.array_equal(segment(model, [image]).labelmap.array, expected)


def test_folds_answer_with_the_mean_of_their_logits(tmp_path):
    networks = {fold: nnunet_network(seed=fold) for fold in range(3)}
    write_results(tmp_path / "results", networks)
    image = volume(PATCH[::-1], (1.0, 1.25, 1.5))
    logits = [logits_of(networks[fold], [image.array.transpose()]) for fold in range(3)]
    for folds, chosen in (("0,2", (0, 2)), ("all", (0, 1, 2)), (None, (0,))):
        found = segment(imported(tmp_path / "results", folds=folds, name=f"of {folds}"), [image], probabilities=True)
        mean = sum(logits[fold] for fold in chosen) / len(chosen)
        assert np.array_equal(found.labelmap.array, mean.argmax(axis=0))
        expected = torch.from_numpy(mean).softmax(dim=0).numpy()
        assert np.abs(found.probabilities.array - expected).max() < 1e-5
    with pytest.raises(LLMBoostError, match=r"put together as they are imported"):
        combine([load_model(find(f"of {folds}")) for folds in ("all", None)], tmp_path / "both.safetensors")
    with pytest.raises(LLMBoostError, match=r"no fold 7; there are 0, 1, 2"):
        imported(tmp_path / "results", folds="7")


def test_mirror_images_in_all_combinations(tmp_path):
    network = nnunet_network()
    write_results(tmp_path / "results", {0: network}, mirror=(0, 2))
    image = volume(PATCH[::-1], (1.0, 1.25, 1.5))
    total = 0
    for axes in ((), (0,), (2,), (0, 2)):  # of k, j, i
        flipped = np.flip(image.array.transpose(), axes).copy()
        total = total + np.flip(logits_of(network, [flipped]), tuple(3 - axis for axis in axes))
    model = imported(tmp_path / "results")
    assert model.card.preprocessing.mirror == (0, 2)
    assert np.array_equal(segment(model, [image], mirror=True).labelmap.array, total.argmax(axis=0))


def test_regions_are_drawn_over_each_other(tmp_path):
    network = nnunet_network(classes=3, channels=2)
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    write_results(tmp_path / "results", {0: network}, labels=labels, regions_class_order=[1, 2, 3])
    one, two = volume(PATCH[::-1], (1.0, 1.25, 1.5)), volume(PATCH[::-1], (1.0, 1.25, 1.5), seed=2)
    logits = logits_of(network, [image.array.transpose() for image in (one, two)])
    expected = np.zeros(one.shape, int)
    for n in range(3):
        expected[logits[n] > 0] = n + 1
    found = segment(imported(tmp_path / "results"), [one, two], probabilities=True, entropy=True)
    assert [label.name for label in found.labels] == ["whole outside core", "core outside enhancing", "enhancing"]
    assert np.array_equal(found.labelmap.array, expected)
    assert np.abs(found.probabilities.array[1:] - 1 / (1 + np.exp(-logits))).max() < 1e-5


def test_plans_of_before_2024(results):
    plans = json.loads((results / "plans.json").read_text())
    ours = plans["configurations"]["3d_fullres"]
    kwargs = ours.pop("architecture")["arch_kwargs"]
    ours |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": kwargs["n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "pool_op_kernel_sizes": kwargs["strides"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
    }
    plans["configurations"] = {"mine": ours, "3d_fullres": {"inherits_from": "mine", "batch_size": 2}}
    (results / "plans.json").write_text(json.dumps(plans))
    assert imported(results).card.network["features"] == [4, 8, 8]


def test_normalizations_and_what_is_empty_around(tmp_path):
    network = nnunet_network(channels=3)
    schemes = ["CTNormalization", "ZScoreNormalization", "NoNormalization"]
    plans = plans_of(network, normalization_schemes=schemes, use_mask_for_norm=[False, True, False])
    write_results(tmp_path / "results", {0: network}, plans, channel_names={"0": "CT", "1": "T1", "2": "PET"})
    size = PATCH[::-1]
    channels = [volume(size, (1.0, 1.25, 1.5), seed).array for seed in range(3)]
    for array in channels:
        array[:4, :4] = 0  # a corner: inside of the box, and outside of the content
    one, two, three = channels
    two = np.where(two == 0, 0, (two - two[two != 0].mean()) / two[two != 0].std())
    with torch.no_grad():
        inputs = np.stack([(np.clip(one, -10, 90) - 40) / 20, two, three]).astype(np.float32)
        logits = network(torch.from_numpy(inputs.transpose(0, 3, 2, 1).copy())[None])[0].numpy()
    expected = np.zeros([n + 7 for n in size], int)
    expected[5:-2, 3:-4, 1:-6] = logits.argmax(axis=0).transpose()
    images = []
    for array in channels:
        padded = np.zeros(expected.shape, np.float32)
        padded[5:-2, 3:-4, 1:-6] = array
        images.append(Image(padded, (1.0, 1.25, 1.5), (0, 0, 0), LPS))
    model = imported(tmp_path / "results")
    assert model.card.modality == "CT, MR, PT"
    assert np.array_equal(segment(model, images).labelmap.array, expected)


def test_the_license_is_told_or_asked_for(results, tmp_path):
    with pytest.raises(LLMBoostError, match=r"tells no license.*--license"):
        import_foreign(results)
    told = json.loads((results / "dataset.json").read_text()) | {"licence": "CC-BY-SA 4.0"}
    (results / "dataset.json").write_text(json.dumps(told))
    assert import_foreign(results, name="mine").license == "CC-BY-SA 4.0"
    assert read_card(find("mine")).license == "CC-BY-SA 4.0"
    with pytest.raises(LLMBoostError, match="installed already"):
        import_foreign(results, name="mine")
    with pytest.raises(LLMBoostError, match="cannot be a file's name"):
        import_foreign(results, name="../mine")


def test_images_of_totalsegmentator_were_turned(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / ".totalsegmentator" / results.parent.name)
    assert imported(tmp_path / ".totalsegmentator").card.preprocessing.orientation == "RAS"
    assert imported(results, name="b").card.preprocessing.orientation == "stored"
    assert imported(results, name="c", orientation="RAS").card.preprocessing.orientation == "RAS"


def changed(**entries):
    """plans.json with other entries of its configuration."""
    return plans_of(nnunet_network(), **entries)


def architecture(**entries):
    """plans.json with other arguments of its network, or another name of it."""
    plans = plans_of(nnunet_network())
    entry = plans["configurations"]["3d_fullres"]["architecture"]
    entry["network_class_name"] = entries.pop("network_class_name", entry["network_class_name"])
    entry["arch_kwargs"] |= entries
    return plans


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        (architecture(network_class_name="os.system"), "network system is not supported"),
        (architecture(network_class_name="primus.PrimusM"), "PrimusM is not supported"),
        (architecture(conv_op="subprocess.Popen"), "conv_op Popen is not supported"),
        (architecture(norm_op="torch.nn.BatchNorm3d"), "norm_op BatchNorm3d is not supported"),
        (architecture(dropout_op="torch.nn.Dropout3d"), "dropout_op Dropout3d is not supported"),
        (architecture(nonlin_first=True), "nonlin_first True is not supported"),
        (architecture(squeeze_excitation=True), "squeeze_excitation True is not supported"),
        (architecture(n_conv_per_stage=[10**9] * 3), "not those of the network"),
        (architecture(features_per_stage=[4, 8, 10**9]), "not those of the network"),
        (architecture(kernel_sizes="__import__('os').system('true')"), "damaged"),
        (changed(normalization_schemes=["eval"]), "normalization eval is not known"),
        (changed(previous_stage="3d_lowres"), "second stage of a cascade"),
        (changed(preprocessor_name="MyPreprocessor"), "MyPreprocessor is not nnU-Net's own"),
        (changed(resampling_fn_data="resample_torch_fornnunet"), "resample_torch_fornnunet .* is not the usual"),
        (changed(inherits_from="3d_fullres"), "inherits from itself"),
        (changed(spacing=[1.0, -1.0, 1.0]), "spacing"),
        (plans_of(nnunet_network()) | {"image_reader_writer": "Tiff3DIO"}, "Tiff3DIO, which is not supported"),
        (plans_of(nnunet_network()) | {"transpose_forward": [0, 0, 1]}, "damaged"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_the_reason(tmp_path, library_folder, plans, reason):
    write_results(tmp_path / "results", {0: nnunet_network()}, plans)
    with pytest.raises(LLMBoostError, match=reason) as refused:
        imported(tmp_path / "results")
    assert "\n" not in str(refused.value)
    assert not library_folder.exists()


class Harmful:
    """A pickle that makes a folder where it is read."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_programs_in_a_checkpoint_are_not_run(results, tmp_path, library_folder):
    checkpoint = results / "fold_0" / "checkpoint_final.pth"
    torch.save({"network_weights": Harmful(tmp_path / "harm")}, checkpoint)
    with pytest.raises(LLMBoostError, match=r"refused, it holds programs and not weights alone \(.*mkdir\)"):
        imported(results)
    assert not (tmp_path / "harm").exists()
    assert not library_folder.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive", "no checkpoint"),
        ([1, 2], "table of weights"),
        ({"network_weights": {}}, "do not tell their configuration"),
        ({"init_args": {"configuration": "3d_fullres"}, "network_weights": [1]}, "no weights of nnU-Net"),
        ({"init_args": {"configuration": "3d_fullres"}, "network_weights": {}}, "not those of the network"),
    ],
)
def test_checkpoints_that_are_none(results, content, reason):
    checkpoint = results / "fold_0" / "checkpoint_final.pth"
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    with pytest.raises(LLMBoostError, match=reason):
        imported(results)


def test_weights_that_repeat_a_number_beyond_their_file_are_refused(results):
    checkpoint = results / "fold_0" / "checkpoint_final.pth"
    content = read_checkpoint(checkpoint)
    weight = content["network_weights"]["encoder.stages.1.0.convs.0.conv.weight"]
    content["network_weights"]["encoder.stages.1.0.convs.0.conv.weight"] = weight[:1, :1].expand(10**6, 10**3, 3, 3, 3)
    torch.save(content, checkpoint)
    with pytest.raises(LLMBoostError, match="larger than the file"):
        imported(results)


def test_a_packed_checkpoint_is_refused(results):
    checkpoint = results / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(checkpoint) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data + bytes(2**20 if name.endswith("data/0") else 0))
    with pytest.raises(LLMBoostError, match="packed"):
        imported(results)


def linked():
    entry = zipfile.ZipInfo("results/plans.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "data", "reason"),
    [
        ("../plans.json", b"{}", "written elsewhere"),
        ("a/../../plans.json", b"{}", "written elsewhere"),
        ("/tmp/plans.json", b"{}", "written elsewhere"),
        ("C:/plans.json", b"{}", "written elsewhere"),
        ("a\\..\\plans.json", b"{}", "written elsewhere"),
        (linked(), b"/etc/passwd", "a link or a device"),
        ("results/plans.json", bytes(2**26), "bytes when unpacked"),
        ("results/plans.json", b"{}", "is expected"),
    ],
)
def test_harmful_archives_are_refused(tmp_path, entry, data, reason):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry, data)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LLMBoostError, match=reason):
        imported(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_that_are_none_and_files_that_are_in_one_twice(tmp_path):
    path = tmp_path / "results.zip"
    path.write_bytes(b"PK\3\4 and nothing else")
    with pytest.raises(LLMBoostError, match="copy it again"):
        imported(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/plans.json", "{}")
        archive.writestr("A/plans.json", "{}")
    with pytest.raises(LLMBoostError, match="in it twice"):
        imported(path)
    with pytest.raises(LLMBoostError, match="no such file"):
        imported(tmp_path / "nothing")
    with pytest.raises(
        LLMBoostError, match="model of nnU-Net, MONAI's bundles or Auto3DSeg is expected, there is none"
    ):
        imported(tmp_path)


def test_models_on_this_machine_are_listed_and_imported(tmp_path, monkeypatch, llmboost):
    for name in ("nnUNet_results", "TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR", "MONAI_DATA_DIRECTORY", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert "none found" in llmboost("models", "find").err
    home = tmp_path / ".totalsegmentator" / "nnunet" / "results"
    folder = write_results(home, {0: nnunet_network(), 1: nnunet_network(seed=1)})
    monkeypatch.setenv("nnUNet_results", str(home))  # one place by two names
    told = llmboost("models", "import", folder, "--license", TERMS, "--name", "mine", "--fold", "0,1")
    assert "turned to R, A, S" in told.err.replace("\n", " ")
    shown = llmboost("models", "find").out.replace("\n", "")
    assert shown.count("0, 1") == shown.count("mine") == 1


def test_what_is_wrong_in_an_archive_is_told_of_the_archive(tmp_path):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/plans.json", "{}")
        archive.writestr("a/fold_0/checkpoint_final.pth", "x")
    with pytest.raises(LLMBoostError, match=r"results.zip/a: dataset.json is missing"):
        imported(path)


def test_cards_of_before_say_how_it_was_then(tiny_network, tiny_card):
    raw = json.loads(tiny_card(tiny_network(0)).to_json())
    del raw["tiling"], raw["activation"], raw["origin"]
    for entry in ("orientation", "crop", "resampling", "normalize"):
        del raw["preprocessing"][entry]
    card = Card.from_json(json.dumps(raw | {"format": 1}))
    assert (card.tiling, card.activation) == (Tiling(0.5, "fixed", "probabilities", "single"), "softmax")
    assert card.preprocessing == Preprocessing(patch_size=(24, 32, 24), orientation="RAS", resampling="smooth")
    assert card.origin is None
    assert card.adaptable


@pytest.mark.parametrize("regions", [False, True])
def test_where_an_imported_model_looked(tmp_path, regions):
    network = nnunet_network(classes=3)
    several = {
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3},
        "regions_class_order": [1, 2, 3],
    }
    write_results(tmp_path / "results", {0: network}, **(several if regions else {}))
    image = volume((26, 20, 14), (1.0, 1.25, 1.5))
    array = np.pad(image.array, ((3, 2), (4, 0), (0, 1)))
    model = imported(tmp_path / "results")
    case = Image(array, image.spacing, (0, 0, 0), LPS)
    label = model.card.labels[-1]
    found = segment(model, [case], explain=ExplanationSpec(label.value)).explanation
    assert found.target == label
    assert found.warnings == ()
    heat = found.map.array
    assert heat.max() == 1
    assert heat[3:-2, 4:, :-1].mean() > heat.mean()
    assert not heat[:3].any()
    with pytest.raises(LLMBoostError, match="no attention"):
        segment(model, [case], explain=ExplanationSpec(label.value, "attention-rollout"))
