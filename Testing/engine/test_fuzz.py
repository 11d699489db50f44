"""Damaged images and models: whatever their bytes, a reader reads them or refuses them with one line.

See fuzzing.py. The normal run takes a few seconds; ``--slow`` some minutes.
"""

import gzip
import json
import zlib

import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st

from llmboost.card import METADATA_KEY, Label
from llmboost.io.image import Image, write_image
from llmboost.io.segnrrd import write_segmentation

from .fuzzing import JSON, model_file, mutated, mutations, replaced


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
