"""What in a bundle cannot be translated is refused with the reason, and what would do harm is not run."""

import os
import zipfile
from pathlib import Path

import pytest
import torch

from llmboost.errors import LLMBoostError
from llmboost.foreign import import_foreign
from llmboost.foreign.monai import find_bundles, read_bundle, read_metadata
from llmboost.networks.monai_network import KINDS

from .bundle_samples import ARGMAX, CT, LOAD, RAS, SOFTMAX, SPACING, UNET, inverted, sliding, step, write_bundle

pytestmark = pytest.mark.usefixtures("library_folder")


def network(**entries):
    """A sample with other arguments of its network."""
    return {"network": {**UNET, **entries}}


def before(*steps):
    """A sample with other preprocessing."""
    return {"preprocessing": [*LOAD, *steps]}


def after(*steps):
    """A sample with other postprocessing."""
    return {"postprocessing": list(steps)}


TWO = [SOFTMAX, inverted(nearest=False), ARGMAX]
GUIDED = step("AddGuidanceSignald")
REFUSED = {
    "a command as network": (
        {"network": {"_target_": "os.system", "command": "mkdir HARM"}},
        "network os.system is not",
    ),
    "a class of its own": ({"network": {"_target_": "scripts.net.Net"}}, r"a program of its own \(scripts.net.Net"),
    "a builtin as network": ({"network": {"_target_": "builtins.eval", "_args_": ["HARM"]}}, "builtins.eval is not"),
    "a network by another's name": ({"network": {**UNET, "_target_": "evil.UNet"}}, "network evil.UNet is not"),
    "an expression as network": ({"network": "$__import__('os').mkdir('HARM')"}, "tells no network"),
    "an expression as argument": (network(act="$__import__('os').mkdir('HARM')"), r"has act \$__import__"),
    "a lambda called": (network(norm="$(lambda: open('HARM', 'w'))()"), r"has norm \$\(lambda"),
    "a component as argument": (network(act={"_target_": "os.mkdir", "path": "HARM"}), "has act {'_target_"),
    "torchvision": ({"network": {"_target_": "TorchVisionFCModel", "model_name": "resnet18"}}, "torchvision"),
    "DiNTS": ({"network": {"_target_": "monai.networks.nets.DiNTS", "dints_space": "$x"}}, "DiNTS is not supported"),
    "an unknown argument": (network(my_layers=3), "has my_layers, which MONAI's today does not know"),
    "billions of blocks": (network(num_res_units=10**9), "num_res_units 1000000000"),
    "huge features": (network(channels=[8, 16, 10**9]), "channels 1000000000"),
    "outputs without end": (network(out_channels=4000), "4000 outputs"),
    "a reference to itself": ({"entries": {"classes": "@twice", "twice": "$@classes + 1"}}, "refers to itself"),
    "references without end": (
        {"entries": {f"x{n}": f"$@x{n + 1} + @x{n + 1}" for n in range(60)} | {"x60": [1] * 50, "classes": "@x0"}},
        "too intricate|has out_channels",
    ),
    "a number too large": ({"entries": {"classes": "$" + "*".join(["9999999999"] * 100)}}, "has out_channels"),
    "brackets without end": ({"entries": {"classes": "$" + "(" * 900 + ")" * 900}}, "has out_channels"),
    "from another file": ({"inferer": "%other.json#inferer"}, "from elsewhere"),
    "a missing entry": ({"inferer": "@nothing"}, "has no 'nothing'"),
    "weights elsewhere": ({"load_path": "/etc/passwd"}, "not in its own folder"),
    "weights above": ({"load_path": "$@bundle_root + '/../../other.pt'"}, "not in its own folder"),
    "a transform of its own": (before(step("scripts.transforms.Mine")), r"needs a program of its own \(scripts.tr"),
    "clicks": (before(GUIDED), r"clicks, which are an input of its network \(AddGuidanceSignald"),
    "another orientation": (before({**RAS, "axcodes": "LPX"}), "turned to LPX, which are no axis codes"),
    "cubic splines": (before({**SPACING, "mode": 3}), "mode 3 is not supported"),
    "a crop of its own": (before(step("CropForegroundd", select_fn="$lambda x: x > 5")), "in its own way"),
    "a padded crop": (before(step("CropForegroundd", margin=5)), "pads images"),
    "intensities twice": (before(CT, RAS, SPACING, CT), "before and after images are resampled"),
    "several images": (before(step("NormalizeIntensityd", ["image", "other"])), "several images by name"),
    "a hidden argument": (before(step("ScaleIntensityd", factor=0.5)), "with factor 0.5 is not supported"),
    "an expression that counts": (before({**CT, "a_min": "$numpy.random.rand()"}), r"a_min \$numpy"),
    "an inferer of its own": ({"inferer": {"_target_": "scripts.inferer.Mine"}}, "inferer scripts.inferer.Mine is not"),
    "reflections": ({"inferer": sliding(padding_mode="reflect")}, "padding_mode reflect is not supported"),
    "a large patch": ({"inferer": sliding(roi_size=[10**6] * 3)}, "patches are of"),
    "its own merging": (after(*TWO, step("Lambdad", "pred", func="$lambda x: __import__('os')")), "is not understood"),
    "overlapping outputs": (after(step("Activationsd", "pred", sigmoid=True)), "nothing tells which is drawn over"),
    "its own postprocessing": (after(step("scripts.post.Mine", "pred")), "needs a program of its own"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_translated_is_refused_with_the_reason(tmp_path, library_folder, monkeypatch, kind):
    made, reason = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    bundle = write_bundle(tmp_path / "sample", made, weights=False)
    with pytest.raises(LLMBoostError, match=reason) as refused:
        import_foreign(bundle)
    assert "\n" not in str(refused.value)
    assert not library_folder.exists()
    assert os.listdir(tmp_path) == ["sample"]


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("inference.yaml", BOMB, "aliases are not read"),
        ("inference.yaml", "network_def: !!python/object/apply:os.mkdir [HARM]\n", "no valid YAML"),
        ("inference.yaml", "a: " + "[" * 3000, "no valid YAML|nested too deeply"),
        ("inference.yaml", "- a\n", "a table of entries is expected"),
        ("inference.yaml", "a" * (2**20 + 1), "larger than 1 MB"),
        ("inference.json", "{" + '"a": [' * 100_000, "no valid JSON"),
        ("inference.json", '{"a": NaN}', "no valid JSON"),
    ],
)
def test_harmful_configs_are_refused(tmp_path, library_folder, monkeypatch, name, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample" / "configs").mkdir(parents=True)
    (tmp_path / "sample" / "configs" / name).write_text(content)
    with pytest.raises(LLMBoostError, match=reason) as refused:
        import_foreign(tmp_path / "sample")
    assert "\n" not in str(refused.value)
    assert not library_folder.exists()
    assert os.listdir(tmp_path) == ["sample"]


class Harmful:
    """A pickle that makes a folder where it is read."""

    def __reduce__(self):
        return os.mkdir, ("HARM",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": Harmful()}, r"holds programs and not weights alone \(.*mkdir\)"),
        ({"model": {"a": 1}}, "holds no weights of a network"),
        ({"model.0.weight": torch.zeros(1)}, "weights are not those of the network"),
        ({"a": torch.zeros(1).expand(10**9)}, "weights are larger than the file"),
        (None, r"models/model.pt is missing.*monai.bundle download"),
    ],
)
def test_harmful_weights_are_refused(tmp_path, library_folder, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    bundle = write_bundle(tmp_path / "sample", {}, weights=False)
    if content:
        torch.save(content, bundle / "models" / "model.pt")
    with pytest.raises(LLMBoostError, match=reason) as refused:
        import_foreign(bundle)
    assert "\n" not in str(refused.value)
    assert not library_folder.exists()
    assert os.listdir(tmp_path) == ["sample"]


def test_an_archive_that_writes_elsewhere_is_refused(tmp_path, library_folder):
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as archive:
        archive.writestr("sample/configs/inference.json", "{}")
        archive.writestr("../configs/inference.json", "{}")
    with pytest.raises(LLMBoostError, match="would be written elsewhere"):
        import_foreign(tmp_path / "sample.zip")
    assert not library_folder.exists()


def test_a_scripted_model_alone_is_a_program(tmp_path):
    bundle = write_bundle(tmp_path / "sample", {}, weights=False)
    (bundle / "models" / "model.ts").write_bytes(b"PK")
    with pytest.raises(LLMBoostError, match=r"is missing \(what there is, is a program: TorchScript\)"):
        import_foreign(bundle)


# of github.com/Project-MONAI/model-zoo, those that segment or classify: the network, or a word of why not
ZOO = {
    "brats_mri_segmentation": "SegResNet",
    "breast_density_classification": "torchvision",
    "classification_template": "DenseNet121",
    "endoscopic_inbody_classification": "SEResNet50",
    "endoscopic_tool_segmentation": "FlexibleUNet",
    "multi_organ_segmentation": "DiNTS",
    "pancreas_ct_dints_segmentation": "DiNTS",
    "pathology_nuclei_classification": "input of its network",
    "pathology_nuclei_segmentation_classification": "HoVerNet",
    "pathology_nuclick_annotation": "clicks",
    "pathology_tumor_detection": "torchvision",
    "pediatric_abdominal_ct_segmentation": "DynUNet",
    "prostate_mri_anatomy": "UNet",
    "renalStructures_CECT_segmentation": "several images by name",
    "renalStructures_UNEST_segmentation": "a program of its own",
    "segmentation_template": "UNet",
    "spleen_ct_segmentation": "UNet",
    "spleen_deepedit_annotation": "a program of its own",
    "swin_unetr_btcv_segmentation": "SwinUNETR",
    "ventricular_short_axis_3label": "UNet",
    "vista2d": "CellSamWrapper",
    "vista3d": "no network",
    "wholeBody_ct_segmentation": "SegResNet",
    "wholeBrainSeg_Large_UNEST_segmentation": "a program of its own",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_bundles_of_the_model_zoo_are_read_or_refused(name):
    folder = os.environ.get("LLMBOOST_MODEL_ZOO")
    if not folder:
        pytest.skip("LLMBOOST_MODEL_ZOO names no copy of the models folder of MONAI's model zoo")
    (bundle,) = find_bundles(Path(folder) / name)
    if ZOO[name] in KINDS:
        assert read_bundle(bundle, read_metadata(bundle)).entry["kind"] == ZOO[name]
        return
    with pytest.raises(LLMBoostError, match=f"cannot be imported, .*{ZOO[name]}"):
        read_bundle(bundle, read_metadata(bundle))
