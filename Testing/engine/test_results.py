"""What a batch leaves alone: files that are not its own, rows of other runs, and what is done."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from llmboost import __file__ as package
from llmboost.batch.table import cell
from llmboost.card import read_card
from llmboost.io.image import Image, write_image
from llmboost.io.segnrrd import read_segmentation
from llmboost.model import load_model, save_model

from .summaries import names, rows, summary


@pytest.fixture
def images(tmp_path):
    """A folder of three small images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, id in enumerate("abc"):
        save(folder / f"{id}.nrrd", seed)
    return folder


def save(path, seed):
    array = np.random.default_rng(seed).normal(100, 20, (16, 16, 16)).astype(np.float32)
    write_image(Image(array, (1, 1, 1), (0, 0, 0), np.eye(3)), path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(llmboost, tiny_model, out):
    return lambda *arguments: llmboost("segment", *arguments, "--model", tiny_model, "--output", out)


def correct(path):
    """What a user does in Slicer: another voxel gets the label."""
    stored = sitk.ReadImage(str(path))
    attributes = {key: stored.GetMetaData(key) for key in stored.GetMetaDataKeys()}
    array = sitk.GetArrayFromImage(stored)
    array[0, 0, 0] = 1 - min(array[0, 0, 0], 1)
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(stored)
    for key, value in attributes.items():
        changed.SetMetaData(key, value)
    sitk.WriteImage(changed, str(path), useCompression=True)
    return path.read_bytes()


# files of others


def test_files_of_others_are_never_overwritten(run, images, out):
    out.mkdir()
    (out / "b.seg.nrrd").write_bytes(b"years of work")
    done = run(images)
    assert done.status == 1
    assert (out / "b.seg.nrrd").read_bytes() == b"years of work"
    found = rows(out)
    assert {id: row["status"] for id, row in found.items()} == {"a": "ok", "b": "failed", "c": "ok"}
    assert found["b"]["error"] == (
        f"{out / 'b.seg.nrrd'}: exists and is not this batch's result of 'b', or was changed since;"
        " move it, choose another --output, or give --overwrite"
    )
    assert f"failed: {found['b']['error']}" in done.err
    assert run(images, "--resume").status == 1
    assert (out / "b.seg.nrrd").read_bytes() == b"years of work"
    assert run(images, "--resume", "--overwrite").status == 0
    assert read_segmentation(out / "b.seg.nrrd")[0].shape == (16, 16, 16)
    assert run(images).status == 0, "now they are all its own"


@pytest.mark.parametrize("options", [(), ("--resume",)], ids=str)
def test_corrected_results_are_never_overwritten(run, images, out, options):
    assert run(images).status == 0
    corrected = correct(out / "b.seg.nrrd")
    before = {name: (out / f"{name}.seg.nrrd").stat().st_mtime_ns for name in "ac"}
    assert run(images, *options).status == 1
    assert (out / "b.seg.nrrd").read_bytes() == corrected
    after = {name: (out / f"{name}.seg.nrrd").stat().st_mtime_ns for name in "ac"}
    assert (before == after) == bool(options)
    (out / "b.seg.nrrd").rename(out / "b corrected.seg.nrrd")
    assert run(images, "--resume").status == 0
    assert (out / "b corrected.seg.nrrd").read_bytes() == corrected
    assert read_segmentation(out / "b.seg.nrrd")[0].shape == (16, 16, 16)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--uncertainty",), "a_entropy.nii.gz"),
        (("--probabilities",), "a_probability_1.nii.gz"),
        (("--explain",), "a_explanation.png"),
        (("--explain",), "a_explanation.nii.gz"),
        (("--format", "nii.gz"), "a.nii.gz"),
    ],
    ids=str,
)
def test_maps_and_pictures_of_others(run, images, out, options, name):
    out.mkdir()
    (out / name).write_bytes(b"mine")
    assert run(images / "a.nrrd", *options).status == 1
    assert (out / name).read_bytes() == b"mine"
    assert rows(out)["a"]["error"].startswith(f"{out / name}: exists and is not this batch's result")
    assert names(out) == sorted([name, "summary.csv", "summary.json"])


def test_a_dangling_link_is_somebodys(run, images, out):
    out.mkdir()
    (out / "a.seg.nrrd").symlink_to(out / "elsewhere")
    assert run(images / "a.nrrd").status == 1
    assert (out / "a.seg.nrrd").is_symlink()


def test_results_of_two_cases_under_one_name(run, images, out):
    """The map of one is named as the segmentation of the other."""
    save(images / "a_entropy.nrrd", 7)
    done = run(images, "--format", "nii.gz", "--uncertainty")
    assert done.status == 1
    assert rows(out)["a"]["status"] == "ok"
    assert f"{out / 'a_entropy.nii.gz'}: exists and is not this batch's result of 'a_entropy'" in done.err


@pytest.mark.parametrize(("name", "text"), [("summary.json", '{"study": 1}'), ("summary.csv", "patient,dose\n1,2\n")])
def test_a_summary_of_something_else(run, images, out, name, text):
    out.mkdir()
    (out / name).write_text(text)
    for options in ((), ("--resume",)):
        done = run(images, *options)
        assert done.status == 1
        assert done.err.startswith(f"error: {out / name}: ")
        assert "choose another --output" in done.err
        assert done.err.count("\n") == 1
        assert names(out) == [name]
        assert (out / name).read_text() == text
    assert run(images, "--overwrite").status == 0
    assert sorted(rows(out)) == ["a", "b", "c"]


def test_results_of_a_summary_without_digests_are_kept(run, images, out):
    """As earlier versions wrote it: nobody can tell whether they were corrected."""
    assert run(images / "a.nrrd").status == 0
    corrected = correct(out / "a.seg.nrrd")
    told = summary(out)
    for row in told["cases"]:
        del row["made_from"], row["results"]
    (out / "summary.json").write_text(json.dumps(told))
    assert run(images, "--resume").status == 1
    assert (out / "a.seg.nrrd").read_bytes() == corrected


# rows of others


def test_runs_one_after_the_other_keep_their_rows(run, images, out):
    for id in "bac":
        assert run(images / f"{id}.nrrd").status == 0
    assert sorted(rows(out)) == ["a", "b", "c"]
    with (out / "summary.csv").open(newline="") as file:
        assert sorted(line["id"] for line in csv.DictReader(file)) == ["a", "b", "c"]
    before = rows(out)
    (images / "b.nrrd").write_bytes(b"broken")
    assert run(images / "b.nrrd").status == 1
    assert {id: row for id, row in rows(out).items() if id != "b"} == {id: before[id] for id in "ac"}


def test_the_result_of_another_input_of_the_same_name_stays(run, images, out, tmp_path):
    (tmp_path / "other").mkdir()
    save(tmp_path / "other" / "a.nrrd", 9)
    assert run(images / "a.nrrd").status == 0
    before, bytes_before = rows(out)["a"], (out / "a.seg.nrrd").read_bytes()
    done = run(tmp_path / "other" / "a.nrrd")
    assert done.status == 1
    assert f"the results named 'a' here are of another input ({images / 'a.nrrd'}); choose another --output" in done.err
    assert rows(out)["a"] == before
    assert (out / "a.seg.nrrd").read_bytes() == bytes_before
    assert run(tmp_path / "other" / "a.nrrd", "--overwrite").status == 0
    assert rows(out)["a"]["input"] == [str(tmp_path / "other" / "a.nrrd")]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "llmboost", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(package).parents[1]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_runs_at_once_keep_all_rows_and_files(tiny_model, images, out, tmp_path):
    """Two processes with cases of their own, both with --resume, which removes what killed runs have left."""
    other = tmp_path / "more"
    other.mkdir()
    for seed in range(12):
        save(images / f"x{seed}.nrrd", seed)
        save(other / f"y{seed}.nrrd", seed)
    out.mkdir()
    children = [
        start("segment", folder, "--model", tiny_model, "--output", out, "--resume") for folder in (images, other)
    ]
    texts = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], texts
    ids = sorted([*"abc", *(f"{letter}{seed}" for letter in "xy" for seed in range(12))])
    assert sorted(rows(out)) == ids
    assert names(out) == sorted([*(f"{id}.seg.nrrd" for id in ids), "summary.csv", "summary.json"])


def test_two_runs_at_once_over_the_same_cases(tiny_model, images, out):
    for seed in range(8):
        save(images / f"x{seed}.nrrd", seed)
    children = [start("segment", images, "--model", tiny_model, "--output", out, "--resume") for _ in range(2)]
    texts = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], texts
    assert sorted(rows(out)) == sorted([*"abc", *(f"x{seed}" for seed in range(8))])
    assert {row["status"] for row in rows(out).values()} == {"ok"}


def test_the_leftovers_of_a_living_process_are_left_alone(run, images, out):
    """Its number is in their names."""
    from llmboost.files import staging

    out.mkdir()
    with staging(out) as stage:
        (stage / "half a file").touch()
        living = stage.name
        dead = out / living.replace(f"{os.getpid():08x}", f"{2**22 + 1:08x}")
        (dead / "inside").mkdir(parents=True)
        elsewhere = out / f".{'0' * 8}{2**22 + 1:08x}{'0' * 16}.nii.gz"
        elsewhere.touch()
        assert run(images, "--resume").status == 0
        assert (stage / "half a file").exists()
        assert not dead.exists()
        assert elsewhere.exists(), "of another machine, where it may be alive"


# going on


def stamps(folder):
    found = {path.name[0]: path.stat() for path in folder.glob("?.seg.nrrd")}
    return {id: (status.st_ino, status.st_mtime_ns) for id, status in found.items()}


@pytest.mark.parametrize(
    "options",
    [
        ("--mirror",),
        ("--uncertainty",),
        ("--probabilities",),
        ("--roi", "-8", "-8", "8", "9", "9", "9"),
        ("--frame", "0"),
        ("--explain",),
    ],
    ids=str,
)
def test_resume_with_other_options_does_all_again(run, images, out, options):
    assert run(images).status == 0
    before = stamps(out)
    again = run(images, "--resume", *options)
    assert again.status == 0
    assert "left alone" not in again.out
    assert not set(before.values()) & set(stamps(out).values())
    same = run(images, "--resume", *options)
    assert "3 cases done before, left alone" in same.out
    assert "3 of 3 cases segmented" in same.out


def test_resume_after_another_target_of_the_explanation(run, images, out):
    assert run(images / "a.nrrd", "--explain").status == 0
    assert "1 case done before" in run(images / "a.nrrd", "--explain", "--resume").out
    assert "left alone" not in run(images / "a.nrrd", "--explain", "--explain-target", 2, "--resume").out
    assert rows(out)["a"]["made_from"]["options"]["explain"]["target"] == 2


def test_resume_compares_the_inputs_bytes(run, images, out):
    """Same size, same time, other voxels."""
    assert run(images).status == 0
    before, path = stamps(out), images / "b.nrrd"
    write_image(Image(np.zeros((16, 16, 16), np.float32), (1, 1, 1), (0, 0, 0), np.eye(3)), path)
    status = path.stat()
    data = bytearray(path.read_bytes())
    assert run(images, "--resume").status == 0
    after = stamps(out)
    assert {id for id in "abc" if before[id] != after[id]} == {"b"}
    (images / "b.nrrd").write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns + 10**9, status.st_mtime_ns + 10**9))
    assert "3 cases done before, left alone" in run(images, "--resume").out, "a touched file is the same file"


def test_resume_compares_the_voxels_beside_a_header(run, images, out, tmp_path):
    header, voxels = tmp_path / "scan.mhd", tmp_path / "scan.raw"
    sitk.WriteImage(sitk.ReadImage(str(images / "a.nrrd")), str(header))
    assert run(header).status == 0
    assert "left alone" in run(header, "--resume").out
    voxels.write_bytes(voxels.read_bytes()[4:] + b"\0" * 4)
    assert "left alone" not in run(header, "--resume").out


def test_resume_compares_the_results(run, images, out):
    """One is gone, one is cut off: both are made again. What can be read may be somebody's correction."""
    assert run(images).status == 0
    whole = {id: (out / f"{id}.seg.nrrd").read_bytes() for id in "abc"}
    before = stamps(out)
    (out / "a.seg.nrrd").unlink()
    (out / "b.seg.nrrd").write_bytes(whole["b"][:-20])
    done = run(images, "--resume")
    assert done.status == 0
    assert "1 case done before, left alone" in done.out
    assert {id: (out / f"{id}.seg.nrrd").read_bytes() for id in "abc"} == whole
    assert stamps(out)["c"] == before["c"]


def test_frames(run, images, out, tmp_path):
    film = tmp_path / "film.nii.gz"
    volumes = [sitk.ReadImage(str(images / f"{id}.nrrd")) for id in "ab"]
    sitk.WriteImage(sitk.JoinSeries(volumes), str(film))
    assert run(film).status == 1
    assert run(film, "--frame", "0").status == 0
    first = (out / "film.seg.nrrd").read_bytes()
    assert "left alone" not in run(film, "--frame", "1", "--resume").out
    assert (out / "film.seg.nrrd").read_bytes() != first
    (out / "film.seg.nrrd").unlink()
    (out / "summary.json").unlink()
    (out / "summary.csv").unlink()
    assert run(film).status == 1
    assert run(film, "--frame", "all").status == 0
    assert sorted(rows(out)) == ["film_frame000", "film_frame001"], "the failure is over"


def test_a_retrained_model_of_the_same_name(llmboost, run, images, out, tiny_model):
    assert run(images).status == 0
    before = stamps(out)
    model = load_model(tiny_model)
    network = copy.deepcopy(model.network)
    network.heads[0].bias[0] += 1
    save_model(network, model.card, tiny_model)
    assert read_card(tiny_model).digest != model.card.digest
    done = run(images, "--resume")
    assert done.status == 1
    assert "holds results of another model" in done.err
    assert stamps(out) == before


KILLED = """
import os, signal, sys
from llmboost.cli import main

replace = os.replace

def die_after_the_second(source, target):
    replace(source, target)
    if os.path.basename(target) == "b.seg.nrrd":
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = die_after_the_second
main(sys.argv[1:])
"""


def test_killed_between_a_result_and_its_row(run, images, out, tiny_model):
    """The result is known for the batch's own, though no row tells of it."""
    assert run(images, "--mirror").status == 0
    child = subprocess.run(
        [sys.executable, "-c", KILLED, "segment", images, "--model", tiny_model, "--output", out],
        env={**os.environ, "PYTHONPATH": str(Path(package).parents[1])},
        check=False,
        capture_output=True,
    )
    assert child.returncode == -9, child.stderr
    done = run(images, "--resume", "--uncertainty")
    assert done.status == 0, done.err
    assert {row["status"] for row in rows(out).values()} == {"ok"}
    assert "pending" not in summary(out)
    assert not [name for name in names(out) if name.startswith(".")]


# what is told


def test_empty_results_are_counted(run, llmboost, images, out, tiny_model, tmp_path):
    model = load_model(tiny_model)
    network = copy.deepcopy(model.network)
    network.heads[0].bias[0] += 1e4
    save_model(network, model.card, tmp_path / "blind.safetensors")
    done = llmboost("segment", images, "--model", tmp_path / "blind.safetensors", "--output", out)
    assert f"3 of 3 cases segmented, 3 of them empty: nothing was found; see {out / 'summary.csv'}\n" in done.out
    assert done.status == 0


def test_control_c_tells_how_to_go_on(run, images, out, monkeypatch):
    from llmboost.batch import segmenting

    segment, calls = segmenting.segment, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return segment(*arguments, **options)

    monkeypatch.setattr(segmenting, "segment", interrupted)
    done = run(images)
    assert done.status == 130
    assert done.err.splitlines()[-2:] == [
        "2 of 3 cases done now; the same command with --resume does the others",
        "stopped",
    ]
    assert names(out) == ["a.seg.nrrd", "b.seg.nrrd", "summary.csv", "summary.json"]
    assert "2 cases done before, left alone\n3 of 3 cases segmented" in run(images, "--resume").out


HARMFUL = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\u00a0=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    '"=1',
]


@pytest.mark.parametrize("text", HARMFUL, ids=repr)
def test_no_cell_is_a_formula(text):
    shown = cell(text)
    assert shown[0] == "'"
    assert shown.isprintable() or "\u00a0" in shown


def test_other_cells_stay_as_they_are():
    for value in (-1.5, 0, True, "a-b", "3-4", "hippocampus_001", "x=1", "/data/=x.nii", "\u00e9\u6f22\u5b57", ""):
        assert cell(value) == value
    assert cell("two\nlines") == "two\\nlines"


HOSTILE = "\x1b[31mred\u202e\x9b\u200b\u2028 \u00e9\u6f22\u3000[b]"
SHOWN = "\\x1b[31mred\\u202e\\x9b\\u200b\\u2028 \u00e9\u6f22\u3000[b]"


def test_text_of_files_is_shown_and_not_obeyed(capsys):
    """In lines, tables, notes and progress bars; letters of all scripts stay."""
    from rich.table import Table

    from llmboost.commands.terminal import console, messages, progress_bar, tell

    table = Table("name")
    table.add_row(HOSTILE)
    console.print(table)
    console.print(f"{HOSTILE}: one\ntwo")
    messages.print(f"error: {HOSTILE}")
    tell(f"{HOSTILE}\nmore")
    out, err = capsys.readouterr()
    assert f"{SHOWN}: one\ntwo\n" in out
    assert out.count(SHOWN) == 2
    assert err == f"error: {SHOWN}\nnote: {SHOWN}\\nmore\n"
    messages._force_terminal, before = True, messages._force_terminal
    try:
        with progress_bar() as progress:
            progress.add_task(HOSTILE, total=1)
    finally:
        messages._force_terminal = before
    bar = capsys.readouterr().err
    assert "\\x1b[31mr" in bar
    assert "\x1b[31m" not in bar
    assert not set("\u202e\x9b\u200b\u2028") & set(bar)


def test_hostile_names_in_the_table_and_on_the_terminal(llmboost, out, tmp_path, tiny_network, tiny_card):
    from llmboost.card import Label

    network = tiny_network()
    labels = (Label(1, "=cmd|' /C calc'!A0", (1, 2, 3)), Label(2, "@red \u00e9\u6f22", (3, 2, 1)))
    model = tmp_path / "hostile.safetensors"
    save_model(network, tiny_card(network, labels=labels), model)
    images = tmp_path / "\u202eimages"
    images.mkdir()
    save(images / "=HYPERLINK(1).nrrd", 0)
    (images / "-bad.nrrd").write_bytes(b"x")
    done = llmboost("segment", images, "--model", model, "--output", out)
    assert out.exists(), done.err
    for text in (done.out, done.err, (out / "summary.csv").read_text(), (out / "summary.json").read_text()):
        assert not set("\x1b\u202e") & set(text)
    assert "@red \u00e9\u6f22" in done.err
    with (out / "summary.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header[2:4] == ["=cmd|' /C calc'!A0 (mL)", "@red \u00e9\u6f22 (mL)"] or header[2][0] == header[3][0] == "'"
    for line in (header, *lines):
        assert not [value for value in line if value[:1] in set("=+-@")]
    assert "\x1b" not in llmboost("segment", images, "--model", tmp_path / "\x1b[2J", "--output", out).err
