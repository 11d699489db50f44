"""`llmboost segment`: a file a case, a summary of all, and nothing lost."""

import copy
import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from llmboost import __file__ as package
from llmboost import __version__
from llmboost.card import read_card
from llmboost.inference.segment import segment
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.segnrrd import read_segmentation
from llmboost.model import load_model, save_model

from .summaries import names, rows, summary

IDS = ("anna", "berta", "carl")


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


@pytest.fixture(scope="module")
def images(tmp_path_factory, make_case):
    """A folder of three images, in three formats and one of them anisotropic. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("images")
    for seed, (id, extension) in enumerate(zip(IDS, ("nii.gz", "nrrd", "mha"), strict=True)):
        image = make_case(40 + seed)[0]
        if id == "berta":
            image = Image(image.array[:, :, ::2], (1, 1, 2), image.origin, image.direction)
        write_image(image, folder / f"{id}.{extension}")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.nrrd").write_text("not an image either")
    return folder


@pytest.fixture
def run(llmboost, trained_model, tmp_path):
    """``run(input, ..., option, ...)`` segments with the trained model into tmp_path/out."""
    return lambda *arguments: llmboost("segment", *arguments, "--model", trained_model, "--output", tmp_path / "out")


@pytest.fixture
def refused(refusal, trained_model, tmp_path):
    return lambda *arguments: refusal("segment", *arguments, "--model", trained_model, "--output", tmp_path / "out")


# what is written


def test_a_folder_of_images(run, images, tmp_path, model):
    done = run(images)
    out = tmp_path / "out"
    assert done.status == 0, done.err
    assert "3 of 3 cases segmented" in done.out
    assert names(out) == ["anna.seg.nrrd", "berta.seg.nrrd", "carl.seg.nrrd", "summary.csv", "summary.json"]
    for id, extension in zip(IDS, ("nii.gz", "nrrd", "mha"), strict=True):
        image = read_image(images / f"{id}.{extension}")
        labelmap, segments = read_segmentation(out / f"{id}.seg.nrrd")
        assert segments == [(1, "front"), (2, "back")]
        assert labelmap.same_grid(image)
        assert np.array_equal(labelmap.array, segment(model, [image]).labelmap.array)
        array, header = nrrd.read(str(out / f"{id}.seg.nrrd"))
        assert np.array_equal(array, labelmap.array)
        assert [header["Segment0_Name"], header["Segment1_Name"]] == ["front", "back"]
        assert header["LLMBoost.Model"] == "ellipsoids"
        assert header["LLMBoost.ModelDigest"] == model.card.digest
        assert header["LLMBoost.Notice"] == "Not for clinical use"


def test_the_summaries(run, images, tmp_path, model):
    assert run(images).status == 0
    out = tmp_path / "out"
    told = summary(out)
    assert {key: told[key] for key in ("model", "digest", "version", "notice")} == {
        "model": "ellipsoids", "digest": model.card.digest, "version": __version__, "notice": "Not for clinical use"
    }  # fmt: skip
    assert [row["id"] for row in told["cases"]] == list(IDS)
    for row in told["cases"]:
        labelmap, _ = read_segmentation(out / row["output"])
        for value, name in ((1, "front"), (2, "back")):
            expected = np.sum(labelmap.array == value) * np.prod(labelmap.spacing) / 1000
            assert expected > 0.5
            assert row["volumes_ml"][name] == pytest.approx(expected, abs=1e-4)
        assert row["status"] == "ok"
        assert row["error"] == ""
        assert row["warnings"] == []
        assert row["seconds"] > 0
        assert [Path(path).parent for path in row["input"]] == [images]
    with (out / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["id", "status", "front (mL)", "back (mL)", "seconds", "warnings", "error"]
    for line, row in zip(table, told["cases"], strict=True):
        assert line["id"] == row["id"]
        assert float(line["front (mL)"]) == row["volumes_ml"]["front"]
        assert float(line["back (mL)"]) == row["volumes_ml"]["back"]


def test_nifti_with_maps(run, images, tmp_path):
    assert run(images / "berta.nrrd", "--format", "nii.gz", "--uncertainty", "--probabilities").status == 0
    out = tmp_path / "out"
    maps = ["berta_entropy.nii.gz", "berta_probability_1.nii.gz", "berta_probability_2.nii.gz"]
    assert names(out) == ["berta.nii.gz", *maps, "summary.csv", "summary.json"]
    image = read_image(images / "berta.nrrd")
    labels = nibabel.load(out / "berta.nii.gz")
    np.testing.assert_allclose(labels.affine, np.diag([-1, -1, 1, 1]) @ image.affine, atol=1e-4)
    assert labels.get_data_dtype() == np.uint8
    values = np.asarray(labels.dataobj)
    entropy, first, second = (np.asarray(nibabel.load(out / name).dataobj) for name in maps)
    assert entropy.shape == values.shape == image.shape
    background = 1 - first - second
    assert background.min() > -1e-5
    assert np.array_equal(np.argmax([background, first, second], axis=0), values)
    assert 0 <= entropy.min() < 0.3 < entropy.max() <= 1


def test_warnings_are_told(llmboost, images, tmp_path, model):
    save_with_bias(model, 1e4, tmp_path / "blind.safetensors")
    done = llmboost(
        "segment", images / "anna.nii.gz", "--model", tmp_path / "blind.safetensors", "--output", tmp_path / "out"
    )
    assert done.status == 0, "nothing found is a result, too"
    assert "not found: front, back" in done.err
    assert rows(tmp_path / "out")["anna"]["warnings"] == ["not found: front, back"]
    assert "not found: front, back" in (tmp_path / "out" / "summary.csv").read_text()


def save_with_bias(model, value, path):
    """The model with ``value`` added to what it says of the background."""
    network = copy.deepcopy(model.network)
    network.heads[0].bias[0] += value
    save_model(network, model.card, path)


def test_the_device_and_names_from_the_library(llmboost, library_folder, trained_model, images, tmp_path, refusal):
    library_folder.mkdir()
    (library_folder / "ellipsoids.safetensors").write_bytes(trained_model.read_bytes())
    arguments = ("segment", images / "anna.nii.gz", "--model", "ellipsoids", "--output", tmp_path / "out")
    assert llmboost(*arguments, "--device", "cpu").status == 0
    assert "use one of auto, cpu, cuda" in refusal(*arguments, "--device", "gpu")


# what goes wrong


def test_a_broken_file_stops_nobody(run, images, tmp_path):
    (tmp_path / "b[").mkdir()
    broken = tmp_path / "b[" / "roken].nii.gz"  # "[/roken]" is markup to rich
    broken.write_bytes(b"garbage")
    done = run(images / "anna.nii.gz", broken, images / "carl.mha", tmp_path / "absent.nrrd")
    out = tmp_path / "out"
    assert done.status == 1
    assert "2 of 4 cases segmented" in done.out
    assert f"failed: {broken}" in done.err
    assert "Traceback" not in done.err
    assert names(out) == ["anna.seg.nrrd", "carl.seg.nrrd", "summary.csv", "summary.json"]
    found = rows(out)
    assert {id: row["status"] for id, row in found.items()} == {
        "anna": "ok", "roken]": "failed", "carl": "ok", "absent": "failed"
    }  # fmt: skip
    assert found["roken]"]["error"].startswith(f"{broken}: not a NIfTI-1 file, or a damaged one")
    assert found["absent"]["error"] == f"{tmp_path / 'absent.nrrd'}: no such file"
    with (out / "summary.csv").open(newline="") as file:
        assert [line["error"] for line in csv.DictReader(file)] == [row["error"] for row in found.values()]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("odd\nand more"), "could not be computed (ValueError: odd)"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "limit it to a region of interest (--roi)"),
    ],
    ids=repr,
)
def test_whatever_happens_to_a_case_the_others_go_on(run, images, tmp_path, monkeypatch, error, told):
    def fail_once(model, channels, **options):
        if channels[0].spacing[2] == 2:
            raise error
        return segment(model, channels, **options)

    monkeypatch.setattr("llmboost.batch.segmenting.segment", fail_once)
    assert run(images).status == 1
    found = rows(tmp_path / "out")
    assert [found[id]["status"] for id in IDS] == ["ok", "failed", "ok"]
    assert found["berta"]["error"].startswith(f"{images / 'berta.nrrd'}: ")
    assert told in found["berta"]["error"]
    assert "\n" not in found["berta"]["error"]


def test_what_is_refused_before_anything_is_done(refused, images, tmp_path):
    out = tmp_path / "out"
    assert "use one of seg.nrrd, nii.gz" in refused(images, "--format", "nrrd")
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: no images" in refused(tmp_path / "empty")
    assert not out.exists()
    out.write_text("a file")
    assert refused(images).startswith(f"{out}: cannot be made")
    assert out.read_text() == "a file"


def test_a_result_that_cannot_be_written_is_a_failed_case(run, images, tmp_path):
    (tmp_path / "out" / "berta.seg.nrrd").mkdir(parents=True)
    done = run(images)
    assert done.status == 1
    found = rows(tmp_path / "out")
    assert [found[id]["status"] for id in IDS] == ["ok", "failed", "ok"]
    assert "berta.seg.nrrd: cannot be written" in found["berta"]["error"]
    assert not [name for name in names(tmp_path / "out") if name.startswith(".")]


@pytest.mark.parametrize("options", [("--format", "nii.gz"), ("--format", "nii.gz", "--resume")])
def test_inputs_are_never_overwritten(refusal, trained_model, tmp_path, make_case, options):
    write_image(make_case(51)[0], tmp_path / "scan.nii.gz")
    before = (tmp_path / "scan.nii.gz").read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for output in (tmp_path, link):
        line = refusal("segment", tmp_path / "scan.nii.gz", "--model", trained_model, "--output", output, *options)
        assert "would overwrite it" in line
    assert (tmp_path / "scan.nii.gz").read_bytes() == before


def test_results_in_the_folder_of_the_images(llmboost, trained_model, tmp_path, make_case):
    """What an earlier run wrote beside the images is no image."""
    write_image(make_case(51)[0], tmp_path / "scan.nii.gz")
    for _ in range(2):
        assert llmboost("segment", tmp_path, "--model", trained_model, "--output", tmp_path).status == 0
        assert list(rows(tmp_path)) == ["scan"]


# going on


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.seg.nrrd")}


def test_resume_does_what_is_missing(run, images, tmp_path):
    out = tmp_path / "out"
    bad = tmp_path / "doris.nrrd"
    bad.write_text("garbage")
    assert run(images, bad).status == 1
    before = times(out)
    (out / "berta.seg.nrrd").unlink()
    write_image(read_image(images / "anna.nii.gz"), bad)
    done = run(images, bad, "--resume")
    assert done.status == 0
    assert "4 of 4" in done.out
    after = times(out)
    assert {name for name in after if after[name] == before.get(name)} == {"anna.seg.nrrd", "carl.seg.nrrd"}
    assert sorted(rows(out)) == [*IDS, "doris"]
    assert {row["status"] for row in rows(out).values()} == {"ok"}
    assert run(images, bad).status == 0
    assert not set(times(out).values()) & set(after.values()), "without --resume all is done again"


def test_resume_with_other_wishes(run, images, tmp_path):
    """Done is what was asked for, not what was asked for then."""
    out = tmp_path / "out"
    anna = images / "anna.nii.gz"
    assert run(anna).status == 0
    assert run(anna, "--resume", "--uncertainty").status == 0
    assert (out / "anna_entropy.nii.gz").exists()
    assert run(anna, "--resume", "--format", "nii.gz").status == 0
    assert (out / "anna.nii.gz").exists()
    other = tmp_path / "anna.nrrd"
    write_image(read_image(images / "carl.mha"), other)
    assert run(other, "--resume", "--format", "nii.gz").status == 1  # another input's result has that name
    assert run(other, "--resume", "--format", "nii.gz", "--overwrite").status == 0
    assert rows(out)["anna"]["input"] == [str(other)]
    assert np.array_equal(read_image(out / "anna.nii.gz").array, segment_file(other, tmp_path, run))


def segment_file(path, tmp_path, run):
    assert run(path).status == 0
    return read_segmentation(tmp_path / "out" / f"{path.name.split('.')[0]}.seg.nrrd")[0].array


def test_resume_with_another_model(llmboost, run, refusal, images, tmp_path, model):
    assert run(images / "anna.nii.gz").status == 0
    other = tmp_path / "other.safetensors"
    save_with_bias(model, 1, other)
    assert read_card(other).digest != model.card.digest
    arguments = ("segment", images / "anna.nii.gz", "--model", other, "--output", tmp_path / "out")
    before = (tmp_path / "out" / "anna.seg.nrrd").read_bytes()
    for options in ((), ("--resume",)):
        assert "results of another model" in refusal(*arguments, *options)
    assert (tmp_path / "out" / "anna.seg.nrrd").read_bytes() == before
    assert llmboost(*arguments, "--overwrite").status == 0
    assert summary(tmp_path / "out")["digest"] == read_card(other).digest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"digest": 5', '{"cases": [{"id": 1}], "digest": "DIGEST"}'])
def test_resume_with_a_damaged_summary(refused, images, tmp_path, model, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text(text.replace("DIGEST", model.card.digest))
    assert "summary.json: cannot be read" in refused(images, "--resume")


KILLED = """
import os, signal, sys
from llmboost.cli import main

replace = os.replace

def die_at_the_second(source, target):
    if os.path.basename(target) == "berta.seg.nrrd":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = die_at_the_second
main(sys.argv[1:])
"""


def test_a_killed_batch_goes_on(run, images, trained_model, tmp_path):
    """Killed while the second case is being written."""
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(package).parents[1]), "LLMBOOST_MODELS": str(tmp_path)}
    child = subprocess.run(
        [sys.executable, "-c", KILLED, "segment", images, "--model", trained_model, "--output", out],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    visible = [name for name in names(out) if not name.startswith(".")]
    assert visible == ["anna.seg.nrrd", "summary.csv", "summary.json", "summary.jsonl"]
    assert len(names(out)) > len(visible), "the killed process leaves its temporary file"
    read_segmentation(out / "anna.seg.nrrd")
    before = times(out)["anna.seg.nrrd"]
    done = run(images, "--resume")
    assert done.status == 0, done.err
    assert names(out) == ["anna.seg.nrrd", "berta.seg.nrrd", "carl.seg.nrrd", "summary.csv", "summary.json"]
    assert times(out)["anna.seg.nrrd"] == before
    assert [row["id"] for row in summary(out)["cases"]] == list(IDS)
