"""Damaged files: whatever their bytes, a reader reads them or refuses them with one line.

A child process reads, so that a crash of ITK, a hang or a hunger for memory fails the test alone. It also tells if
a file made it import, execute or start anything. The normal run takes a few seconds; ``--slow`` some minutes.
"""

import gzip
import json
import select
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import llmboost
from llmboost.card import METADATA_KEY, Label
from llmboost.image import Image, write_image
from llmboost.segnrrd import write_segmentation

PATIENCE = 30  # seconds a file may take; they take milliseconds
EXAMPLES, SLOW_EXAMPLES = 60, 3000

NASTY = [
    b"-1",
    b"0",
    b"1",
    b"3.7",
    b"2147483648",
    b"18446744073709551616",
    b"1e999",
    b"nan",
    b"-inf",
    b"",
    b" ",
    b"x" * 2000,
]
NASTY += [
    b"%n%n%s",
    b"LIST",
    b"LOCAL",
    b"../a.raw",
    b"/dev/zero",
    b"-",
    b"0 0 0",
    b"4294967296 4294967296 4",
    b"\xff\0\n",
]
NASTY += [b"raw", b"gzip", b"float", b"True", b"a.raw", b"a.raw 1 4 1", b"%d.raw 1 4 1", b"(nan,0,0) (0,1,0) (0,0,1)"]
EDGES = [0, 1, 0x7F, 0x80, 0xFF]

places = st.floats(0, 1) | st.floats(0, 0.1)  # of a file: headers come first
mutations = st.lists(
    st.tuples(st.just("set"), places, st.sampled_from(EDGES) | st.integers(0, 255))
    | st.tuples(st.just("cut"), places, st.integers(1, 64) | st.integers(1, 10**6))
    | st.tuples(st.just("insert"), places, st.sampled_from(NASTY) | st.binary(min_size=1, max_size=16))
    | st.tuples(st.just("value"), places, st.sampled_from(NASTY))
    | st.tuples(st.just("repeat"), places, st.integers(1, 5000)),
    min_size=1,
    max_size=5,
)


def mutated(data, changes):
    for kind, place, what in changes:
        at = int(place * len(data))
        match kind:
            case "set":
                data = data[:at] + bytes([what]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[at + what :]
            case "insert":
                data = data[:at] + what + data[at:]
            case "repeat":
                data = data[: at + what] + data[at:]
            case "value":  # of a header's line "key: value" or "key = value"
                end = data.find(b"\n", at)
                start = max(data.rfind(mark, 0, end) for mark in (b":", b"=", b"\n")) + 1
                data = data[:start] + what + data[end:] if end >= 0 else data
    return data


class Reader:
    """The child process, started again after it died."""

    def __init__(self):
        self.process = None

    def __call__(self, reader, path):
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("fuzz_reader.py")],
                env={"PYTHONPATH": str(Path(llmboost.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        self.process.stdin.write(f"{reader} {path}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.close()
            return f"no answer within {PATIENCE} s"
        answer = self.process.stdout.readline().strip()
        if not answer:
            answer = f"the process died ({self.close()})"
        return answer

    def close(self):
        if self.process is None:
            return None
        self.process.kill() if self.process.poll() is None else None
        self.process.communicate()
        status, self.process = self.process.returncode, None
        return status


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture
def fuzz(reader, request):
    """``fuzz(name, path, changes, write)``: reads what ``write(changes)`` makes of a valid file at ``path``."""
    slow = request.config.getoption("--slow")
    run = settings(
        max_examples=SLOW_EXAMPLES if slow else EXAMPLES,
        derandomize=not slow,  # the normal run is the same every time; the slow one searches
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )

    def start(name, path, changes, write):
        assert reader(name, path) == "read"

        @run
        @given(changes)
        def each(change):
            write(change)
            assert reader(name, path) in ("read", "refused")

        each()

    return start


def voxels(shape=(7, 6, 5), dtype=np.int16):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


IMAGE = Image(voxels(), (0.7, 1.1, 2.5), (-12.5, 30.25, 7.125), np.eye(3)[:, [2, 0, 1]])
LABELS = (Label(1, "Liver", (1, 2, 3)), Label(2, "Spleen", (4, 5, 6)))
NAMES = ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.nhdr", "a.mhd", "a.png", "a.jpg", "a.seg.nrrd"]


def write_valid(path):
    if path.name.endswith(".seg.nrrd"):
        write_segmentation(IMAGE.with_array(IMAGE.array % 3), LABELS, path)
    elif path.suffix in (".png", ".jpg"):
        PIL.Image.fromarray(voxels((20, 30, 3), np.uint8)).save(path)
    elif path.suffix in (".nhdr", ".mhd"):
        detached(path)
    else:
        write_image(IMAGE, path)


def detached(path):
    """A header with its voxels in another file."""
    path.with_suffix(".raw").write_bytes(IMAGE.array.tobytes("F"))
    if path.suffix == ".mhd":
        lines = ("NDims = 3", "DimSize = 7 6 5", "ElementType = MET_SHORT", "ElementDataFile = a.raw")
    else:
        space = ("space: left-posterior-superior", "space directions: (1,0,0) (0,1,0) (0,0,1)", "data file: a.raw")
        lines = ("NRRD0004", "type: short", "dimension: 3", "sizes: 7 6 5", "endian: little", "encoding: raw", *space)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_images(fuzz, tmp_path, name):
    path = tmp_path / name
    write_valid(path)
    data = path.read_bytes()
    reader = "segmentation" if ".seg." in name else "color" if path.suffix in (".png", ".jpg") else "volumes"
    fuzz(reader, path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "raw.nrrd", "raw.mha"])
def test_damage_below_the_compression(fuzz, tmp_path, name):
    """Streams that are sound, of a header or of voxels that are not."""
    path = tmp_path / name
    write_image(IMAGE, path)
    data = path.read_bytes()
    mark = b"\n\n" if name.endswith("nrrd") else b"LOCAL\n"
    head, body = (b"", data) if name == "a.nii.gz" else data.split(mark, 1)
    body = zlib.decompress(body, 47)
    pack = {"a.nii.gz": gzip.compress, "a.nrrd": gzip.compress, "a.mha": zlib.compress}.get(name, bytes)

    def write(changes):
        if not head:
            return path.write_bytes(pack(mutated(body, changes)))
        stored = pack(body)
        header = head.replace(b"gzip", b"raw").replace(b"CompressedData = True", b"") if pack is bytes else head
        return path.write_bytes(mutated(header + mark, changes) + stored)

    fuzz("volumes", path, mutations, write)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**9, -1, 1e300]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=5,
)


def replaced(value, place, new):
    """``value`` with the part at ``place`` (a number for each level) replaced."""
    if not place or not isinstance(value, (dict, list)) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[place[0] % len(keys)]
    changed = value.copy()
    changed[key] = replaced(value[key], place[1:], new)
    return changed


def model_file(header, tensors):
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + tensors


@pytest.mark.parametrize("part", ["card", "model"])
def test_model_files(fuzz, tiny_model, part):
    data = tiny_model.read_bytes()
    fuzz(part, tiny_model, mutations, lambda changes: tiny_model.write_bytes(mutated(data, changes)))


@pytest.mark.parametrize("part", ["card", "header"])
def test_models_whose_header_lies(fuzz, tiny_model, part):
    """Of a card, or of the table of tensors, any part says something else."""
    data = tiny_model.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])

    def write(changes):
        changed = json.loads(header["__metadata__"][METADATA_KEY]) if part == "card" else header
        for place, new in changes:
            changed = replaced(changed, place, new)
        if part == "card":
            changed = {**header, "__metadata__": {METADATA_KEY: json.dumps(changed)}}
        tiny_model.write_bytes(model_file(changed, data[start:]))

    places = st.lists(st.integers(0, 99), min_size=1, max_size=4)
    fuzz("model", tiny_model, st.lists(st.tuples(places, JSON), min_size=1, max_size=2), write)
