"""What a user names, sorted into cases; frames, regions and DICOM through the command line."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from llmboost.card import Normalization, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.io.cases import find_cases
from llmboost.io.image import Image, read_volumes, write_image
from llmboost.io.segnrrd import read_segmentation
from llmboost.model import load_model, save_model
from llmboost.studies import Selection

from .dicom_samples import write_series

ONE = Preprocessing()
TWO = Preprocessing(channels=2, normalization=(Normalization(), Normalization()))
FLAT = Preprocessing(patch_size=(32, 32, 1))


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


@pytest.fixture
def run(llmboost, trained_model, tmp_path):
    return lambda *arguments: llmboost("segment", *arguments, "--model", trained_model, "--output", tmp_path / "out")


@pytest.fixture
def refused(refusal, trained_model, tmp_path):
    return lambda *arguments: refusal("segment", *arguments, "--model", trained_model, "--output", tmp_path / "out")


def rows(folder):
    return {row["id"]: row for row in json.loads((folder / "summary.json").read_text())["cases"]}


def integers(image):
    """The image as DICOM stores it, int16 on a grid of whole micrometers."""
    origin = tuple(round(mm, 3) for mm in image.origin)
    return Image(image.array.round().astype(np.int16), image.spacing, origin, image.direction)


def write_dicom(folder, image, **elements):
    place = {"spacing": image.spacing, "origin": image.origin, "direction": image.direction}
    return write_series(folder, image.array.transpose(), **place, **elements)


def write_frames(images, path):
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(image.array.transpose()) for image in images]), str(path))


# files and folders


def test_cases_of_several_channels(tmp_path):
    for name in ("a_0000.nrrd", "a_0001.nrrd", "b_0000.nrrd", "b_0001.nrrd"):
        (tmp_path / name).touch()
    cases = find_cases([tmp_path], TWO)
    assert {id: [path.name for path in case.files] for id, case in cases.items()} == {
        "a": ["a_0000.nrrd", "a_0001.nrrd"], "b": ["b_0000.nrrd", "b_0001.nrrd"]
    }  # fmt: skip
    assert list(find_cases([tmp_path / "a_0000.nrrd"], ONE)) == ["a"]
    assert list(find_cases([tmp_path / "a_0000.nrrd", tmp_path / "a_0000.nrrd"], ONE)) == ["a"]


def test_pictures_in_a_folder_are_cases_of_2d_models_only(tmp_path):
    for name in ("scan.nrrd", "check.png", "photo.JPG"):
        (tmp_path / name).touch()
    assert list(find_cases([tmp_path], ONE)) == ["scan"]
    assert sorted(find_cases([tmp_path], FLAT)) == ["check", "photo", "scan"]
    assert list(find_cases([tmp_path / "check.png"], ONE)) == ["check"], "whoever names it wants it"


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(LLMBoostError, match="no images in this folder"):
        find_cases([tmp_path], ONE)


# series in time


def test_frames(run, refused, model, make_case, tmp_path):
    phantoms = [make_case(20)[0], make_case(21)[0]]
    write_frames(phantoms, tmp_path / "cine.nii.gz")
    path, out = tmp_path / "cine.nii.gz", tmp_path / "out"
    frames = read_volumes(path)
    expected = [segment(model, [frame]).labelmap.array for frame in frames]
    assert not np.array_equal(*expected)

    assert run(path).status == 1
    assert rows(out)["cine"]["error"] == (f"{path}: 2 frames; choose one with --frame 0 to 1, or give --frame all")
    assert run(path, "--frame", "1").status == 0
    assert np.array_equal(read_segmentation(out / "cine.seg.nrrd")[0].array, expected[1])
    assert run(path, "--frame", "2").status == 1
    assert rows(out)["cine"]["error"] == f"{path}: has no frame 2; the last one is 1"
    for wrong in ("-1", "first", "1.5"):
        assert "counted from 0" in refused(path, "--frame", wrong)


def test_all_frames_and_going_on(run, model, make_case, tmp_path):
    write_frames([make_case(20)[0], make_case(21)[0]], tmp_path / "cine.nii.gz")
    out = tmp_path / "out"
    assert run(tmp_path / "cine.nii.gz", "--frame", "all").status == 0
    assert list(rows(out)) == ["cine_frame000", "cine_frame001"]
    for n, frame in enumerate(read_volumes(tmp_path / "cine.nii.gz")):
        found = read_segmentation(out / f"cine_frame{n:03d}.seg.nrrd")[0]
        assert np.array_equal(found.array, segment(model, [frame]).labelmap.array)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.seg.nrrd")}
    (out / "cine_frame001.seg.nrrd").unlink()
    assert run(tmp_path / "cine.nii.gz", "--frame", "all", "--resume").status == 0
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("*.seg.nrrd")}
    assert {name for name in times if times[name] == again[name]} == {"cine_frame000.seg.nrrd"}


def test_frame_all_of_a_plain_image_is_that_image(run, make_case, tmp_path):
    write_image(make_case(20)[0], tmp_path / "scan.nrrd")
    assert run(tmp_path / "scan.nrrd", "--frame", "all").status == 0
    assert list(rows(tmp_path / "out")) == ["scan"]


# colors and slices


@pytest.fixture
def color_model(tmp_path, tiny_network, tiny_card):
    network = tiny_network(channels=3, strides=((2, 2, 1),) * 3)
    steps = Preprocessing(channels=3, patch_size=(32, 32, 1), normalization=(Normalization(),) * 3, color=True)
    path = tmp_path / "color.safetensors"
    save_model(network, tiny_card(network, name="color", preprocessing=steps), path)
    return path


def test_a_color_picture(llmboost, color_model, trained_model, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(tmp_path / "eye.png"))
    sitk.WriteImage(sitk.GetImageFromArray(picture[..., 0]), str(tmp_path / "gray.png"))
    out, gray = tmp_path / "out", tmp_path / "gray"
    assert llmboost("segment", tmp_path / "eye.png", "--model", color_model, "--output", out).status == 0
    labelmap = read_segmentation(out / "eye.seg.nrrd")[0]
    assert labelmap.shape == (50, 40, 1)
    volumes = read_volumes(tmp_path / "eye.png", color=True)
    assert np.array_equal(labelmap.array, segment(load_model(color_model), volumes).labelmap.array)

    assert llmboost("segment", tmp_path / "gray.png", "--model", color_model, "--output", out).status == 1
    assert "gray" in rows(out)["gray"]["error"]
    assert llmboost("segment", tmp_path / "eye.png", "--model", trained_model, "--output", gray).status == 1
    assert "color" in rows(gray)["eye"]["error"]
    assert llmboost("segment", tmp_path / "gray.png", "--model", trained_model, "--output", gray).status == 1
    assert f"{tmp_path / 'gray.png'}: a single slice" in rows(gray)["gray"]["error"]


# regions of interest


def test_the_region_is_given_in_ras(run, refused, model, make_case, tmp_path):
    phantom = make_case(20)[0]
    write_image(phantom, tmp_path / "scan.nrrd")
    x, y, z = (phantom.affine @ [*((np.array(phantom.shape) - 1) / 2), 1])[:3]
    assert run(tmp_path / "scan.nrrd", "--roi", -x, -y, z, 18, 22, 16).status == 0
    found = read_segmentation(tmp_path / "out" / "scan.seg.nrrd")[0]
    box = Roi((x, y, z), (18, 22, 16))
    assert np.array_equal(found.array, segment(model, [phantom], roi=box).labelmap.array)
    assert found.same_grid(phantom)
    assert "three lengths above zero" in refused(tmp_path / "scan.nrrd", "--roi", 0, 0, 0, 5, 5, 0)
    assert run(tmp_path / "scan.nrrd", "--roi", 900, 0, 0, 5, 5, 5).status == 1
    error = rows(tmp_path / "out")["scan"]["error"]
    assert error.startswith(
        f"{tmp_path / 'scan.nrrd'}: the region of interest at (900, 0, 0) mm (R, A, S) lies outside the image, which"
    )


# DICOM


def test_a_folder_with_one_series_is_one_case(run, model, make_case, tmp_path):
    phantom = integers(make_case(20)[0])
    write_dicom(tmp_path / "anna" / "deeper", phantom)
    (tmp_path / "anna" / "report.txt").write_text("no image")
    assert run(tmp_path / "anna").status == 0
    found = read_segmentation(tmp_path / "out" / "anna.seg.nrrd")[0]
    # DICOM's slices may be stacked in the other sense, so voxels are compared by their place
    expected = segment(model, [phantom]).labelmap
    assert np.bincount(found.array.ravel()).tolist() == np.bincount(expected.array.ravel()).tolist()
    middle = (found.affine @ [*((np.array(found.shape) - 1) / 2), 1])[:3]
    np.testing.assert_allclose(middle, (phantom.affine @ [*((np.array(phantom.shape) - 1) / 2), 1])[:3], atol=0.01)
    assert "series" in rows(tmp_path / "out")["anna"]["input"][0]


def test_of_several_series_one_is_chosen(run, refused, make_case, tmp_path):
    """Both suit equally well, which is told; where none suits, the study is refused, and its series are listed."""
    scan = tmp_path / "scan"
    for n, text in enumerate(("once", "again")):
        same = {"StudyInstanceUID": "1.2.4", "PatientID": "A", "Modality": "MR", "SeriesNumber": n + 1}
        same |= {"SeriesInstanceUID": f"1.2.3.{n}", "SeriesDescription": text}
        write_dicom(scan / text, integers(make_case(20)[0]), **same)
    assert run(scan).status == 0
    row = rows(tmp_path / "out")["scan"]
    assert row["input"] == [f"{scan / 'once'} (DICOM series 1)"]
    assert [text for text in row["warnings"] if "2 series suit equally well" in text]
    assert run(scan, "--series", "1.2.3.1", "--overwrite").status == 0
    row = rows(tmp_path / "out")["scan"]
    assert row["input"] == [f"{scan / 'again'} (DICOM series 2)"]
    assert row["series"]["left"] == [{"series": row["series"]["left"][0]["series"], "why": "another one is named"}]
    assert "1.2.3.7" in refused(scan, "--series", "1.2.3.7")
    done = run(scan, "--series", "modality=PT")
    assert done.status == 1
    assert "refused: " in done.err
    assert "of 2 series, none suits model 'ellipsoids'" in done.err


def test_images_beside_a_series(run, make_case, tmp_path):
    """Both are cases; --series asks for the DICOM files among them."""
    folder = tmp_path / "both"
    write_dicom(folder, integers(make_case(20)[0]), SeriesInstanceUID="1.2.3.4")
    write_image(make_case(21)[0], folder / "other.nrrd")
    assert run(folder).status == 0
    assert sorted(rows(tmp_path / "out")) == ["both", "other"]
    assert list(find_cases([folder], ONE, Selection.of("1.2.3.4"))) == ["both"]


def test_repairs_are_told(run, make_case, tmp_path):
    """A slice is missing: it is interpolated, and the summary says so."""
    phantom = integers(make_case(20)[0])
    paths = write_dicom(tmp_path / "gap", phantom)
    paths[10].unlink()
    assert run(tmp_path / "gap").status == 0
    warnings = rows(tmp_path / "out")["gap"]["warnings"]
    assert [text for text in warnings if "slice" in text] == ["missing slices: 1 interpolated between their neighbors"]
    assert len(warnings) == 2  # the other: these are CT, for a model of MR
    assert read_segmentation(tmp_path / "out" / "gap.seg.nrrd")[0].shape == phantom.shape


def test_dicom_out_needs_dicom_in(run, refused, make_case, tmp_path):
    write_image(make_case(20)[0], tmp_path / "scan.nrrd")
    assert run(tmp_path / "scan.nrrd", "--format", "dcm").status == 1
    assert "is no DICOM series" in rows(tmp_path / "out")["scan"]["error"]
    assert "frame" in refused(tmp_path / "scan.nrrd", "--format", "dcm", "--frame", "0")


def test_dicom_out(run, make_case, tmp_path):
    import highdicom

    write_dicom(tmp_path / "anna", integers(make_case(20)[0]))
    assert run(tmp_path / "anna", "--format", "dcm").status == 0
    assert run(tmp_path / "anna").status == 0
    written = highdicom.seg.segread(tmp_path / "out" / "anna.dcm")
    assert [written.get_segment_description(n).segment_label for n in (1, 2)] == ["front", "back"]
    expected = read_segmentation(tmp_path / "out" / "anna.seg.nrrd")[0].array
    pixels = written.get_volume(combine_segments=True).array
    assert np.bincount(pixels.ravel()).tolist()[1:] == np.bincount(expected.ravel()).tolist()[1:]


def test_a_dicom_file_alone(run, tmp_path, make_case):
    """One slice of a series: the model needs a volume, and says so."""
    paths = write_dicom(tmp_path / "anna", integers(make_case(20)[0]))
    assert run(paths[3]).status == 1
    (row,) = rows(tmp_path / "out").values()
    assert row["id"] == paths[3].stem
    assert "a single slice" in row["error"]


def test_a_damaged_series_does_not_stop_the_others(run, make_case, tmp_path):
    paths = write_dicom(tmp_path / "bad", integers(make_case(20)[0]))
    paths[4].write_bytes(paths[4].read_bytes()[:900])
    write_image(make_case(21)[0], tmp_path / "good.nrrd")
    assert run(tmp_path / "bad", tmp_path / "good.nrrd").status == 1
    found = rows(tmp_path / "out")
    assert found["good"]["status"] == "ok"
    assert str(paths[4]) in found["bad"]["error"]


def test_two_inputs_of_one_name(run, make_case, tmp_path):
    """Each keeps its own result; told in a line; the names do not hang on the order."""
    one, two = tmp_path / "one" / "scan", tmp_path / "two" / "scan"
    for seed, folder in enumerate((one, two)):
        write_dicom(folder, integers(make_case(20 + seed)[0]))
    done = run(two, one)
    assert done.status == 0
    assert f"note: {two}: another input is named 'scan', too; this is 'two_scan'\n" in done.err
    found = {id: row["input"][0].split(" (")[0] for id, row in rows(tmp_path / "out").items()}
    assert found == {"scan": str(one), "two_scan": str(two)}
    assert {path.name for path in (tmp_path / "out").glob("*.nrrd")} == {"scan.seg.nrrd", "two_scan.seg.nrrd"}
    assert "2 cases done before, left alone" in run(one, two, "--resume").out


# what lies in one folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def find(told):
    """``find(path, ..., steps=...)``: the names of the files of each case, by id; what is told goes into ``told``."""

    def run(*paths, steps=FLAT):
        cases = find_cases(paths, steps, tell=told.append)
        return {id: sorted({path.name for path in case.files}) for id, case in cases.items()}

    return run


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"\0")


def test_a_thumbnail_beside_dicom_is_not_taken_for_the_image(find, told, make_case, tmp_path):
    folder = tmp_path / "anna"
    write_dicom(folder / "deeper", integers(make_case(20)[0]))
    touch(folder, "thumb.png", "Preview.JPG", "README", "._x.png", "Thumbs.db", ".hidden.nii.gz")
    slices = sorted(path.name for path in (folder / "deeper").iterdir())
    assert find(folder) == {"anna": slices}
    (line,) = told
    assert line == (
        f"{folder}: left out 2 pictures beside DICOM: Preview.JPG, thumb.png; name a picture itself to take it"
    )
    told.clear()
    assert find(folder, steps=ONE) == {"anna": slices}
    assert told == [], "for a model of volumes, pictures are nothing"
    touch(folder, "scan.nii.gz")
    for steps in (ONE, FLAT):
        assert find(folder, steps=steps) == {"anna": slices, "scan": ["scan.nii.gz"]}
    assert find(folder / "thumb.png") == {"thumb": ["thumb.png"]}


def test_several_series_beside_images_do_not_stop_those(find, make_case, tmp_path):
    folder = tmp_path / "both"
    for n in range(2):
        write_dicom(folder / str(n), integers(make_case(20)[0]), SeriesInstanceUID=f"1.2.3.{n}")
    write_image(make_case(21)[0], folder / "other.nrrd")
    assert sorted(find(folder, steps=ONE)) == ["0", "1", "other"]


def test_images_in_folders_below_are_told(find, told, tmp_path):
    touch(tmp_path / "top", "a.nii.gz")
    touch(tmp_path / "top" / "sub" / "anat", "b.nii.gz", "b.seg.nrrd")
    touch(tmp_path / "top" / ".cache", "c.nii.gz")
    assert find(tmp_path / "top") == {"a": ["a.nii.gz"]}
    folders = f"left out 1 image in folders below, such as {Path('sub', 'anat')}; name those folders to take them"
    assert told == [f"{tmp_path / 'top'}: {folders}"]
    (tmp_path / "top" / "a.nii.gz").unlink()
    with pytest.raises(
        LLMBoostError, match=r"no images in this folder.*1 image lies in folders below, such as sub.anat"
    ):
        find(tmp_path / "top")
    touch(tmp_path / "pictures", "a.png")
    with pytest.raises(LLMBoostError, match=r"no images in this folder \([^)]*\.mhd, or DICOM\)$"):
        find(tmp_path / "pictures", steps=ONE)


# names


def test_names_that_are_twice_there(find, told, tmp_path):
    for name in ("a", "b"):
        for session in ("1", "2"):
            touch(tmp_path / name / session / "anat", "scan.nii.gz")
    paths = [tmp_path / name / session / "anat" for name in "ab" for session in "12"]
    expected = {"scan": paths[0], "a_2_scan": paths[1], "b_1_scan": paths[2], "b_2_scan": paths[3]}
    for order in (paths, paths[::-1]):
        cases = find_cases(order, ONE, tell=told.append)
        assert {id: case.files[0].parent for id, case in cases.items()} == expected
    assert len(told) == 6
    assert find(paths[1], paths[3]) == {"scan": ["scan.nii.gz"], "b_scan": ["scan.nii.gz"]}


def test_formats_of_one_name_in_a_folder(find, told, tmp_path):
    touch(tmp_path, "scan.png", "scan.jpg", "scan.nii.gz", "scan_png.nrrd")
    assert find(tmp_path) == {
        "scan": ["scan.jpg"],
        "scan_nii_gz": ["scan.nii.gz"],
        "scan_png": ["scan_png.nrrd"],
        "scan_png_2": ["scan.png"],
    }
    assert f"{tmp_path / 'scan.png'}: another input is named 'scan', too; this is 'scan_png_2'" in told


def test_links_are_named_as_they_are_named(find, tmp_path):
    touch(tmp_path / "real", "x.nrrd")
    write_dicom(tmp_path / "series", integers(Image(np.zeros((4, 4, 4)), (1, 1, 1), (0, 0, 0), np.eye(3))))
    (tmp_path / "anna").symlink_to(tmp_path / "series")
    (tmp_path / "berta").symlink_to(tmp_path / "series")
    assert list(find(tmp_path / "anna", tmp_path / "berta", steps=ONE)) == ["anna", "berta"]


def test_channels_of_one_name_in_two_folders(find, tmp_path):
    for folder in ("one", "two"):
        touch(tmp_path / folder, "x_0000.nrrd", "x_0001.nrrd")
    channels = ["x_0000.nrrd", "x_0001.nrrd"]
    assert find(tmp_path / "one", tmp_path / "two", steps=TWO) == {"x": channels, "two_x": channels}


def test_a_frame_that_is_named_as_another_input(run, make_case, tmp_path):
    write_frames([make_case(20)[0], make_case(21)[0]], tmp_path / "a.nii.gz")
    write_image(make_case(22)[0], tmp_path / "a_frame001.nii.gz")
    inputs = (tmp_path / "a.nii.gz", tmp_path / "a_frame001.nii.gz")
    for order in (inputs, inputs[::-1]):
        done = run(*order, "--frame", "all", "--resume")
        assert done.status == 0
        found = {id: Path(row["input"][0]).name for id, row in rows(tmp_path / "out").items()}
        assert found == {
            "a_frame000": "a.nii.gz", "a_frame001_of_a": "a.nii.gz", "a_frame001": "a_frame001.nii.gz"
        }  # fmt: skip
    assert "3 cases done before, left alone" in done.out


def test_no_uid_in_what_is_written(run, make_case, tmp_path):
    """Whose series it is, is nobody's business who gets the results."""
    write_dicom(tmp_path / "in" / "anna", integers(make_case(20)[0]), SeriesInstanceUID="1.2.345678")
    assert run(tmp_path / "in" / "anna", "--explain").status == 0
    assert run(tmp_path / "in" / "anna", "--resume", "--explain").status == 0
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        assert b"345678" not in path.read_bytes(), path.name
        assert b"345678" not in gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else True
    assert rows(tmp_path / "out")["anna"]["input"] == [f"{tmp_path / 'in' / 'anna'} (DICOM series 1)"]


# memory


def test_a_scan_beyond_the_machines_memory_is_warned_of(run, make_case, tmp_path, monkeypatch):
    write_image(make_case(20)[0], tmp_path / "scan.nrrd")
    monkeypatch.setattr("llmboost.inference.memory.total_memory", lambda: 2**29)
    assert run(tmp_path / "scan.nrrd").status == 0
    (warning,) = rows(tmp_path / "out")["scan"]["warnings"]
    assert warning.startswith("needs about ")
    assert "this machine has 0.5 GB; limit it to a region of interest" in warning
