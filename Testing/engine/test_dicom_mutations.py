"""Damaged DICOM files of every kind: read, or refused in one line; never a traceback, and in bounded memory."""

import random
import tracemalloc
import warnings

import numpy as np
import pytest

from llmboost.errors import LLMBoostError
from llmboost.io.dicom import find_series, read_pictures, read_series

from .dicom_samples import noise, write_enhanced, write_picture, write_series
from .test_dicom_encodings import COMPRESSIONS, deflate


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("samples")
    paths = [write_enhanced(folder / "enhanced", noise((3, 8, 6)))]
    paths += write_series(folder / "classic", noise((1, 8, 6)))
    paths.append(write_picture(folder / "color", np.zeros((8, 6, 3), np.uint8), sop_class="OP", color="RGB"))
    for name, change in COMPRESSIONS.items():
        paths += write_series(folder / name, noise((1, 16, 12), np.uint16), change=change)
    (deflated,) = write_series(folder / "deflated", noise((1, 8, 6)))
    deflate(deflated)
    return [path.read_bytes() for path in (*paths, deflated)]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """With a few bytes changed, added, doubled or taken away, mostly in its header."""
    parts = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5, 20])):
        at = dice.randrange(min(len(parts), dice.choice([2500, 10**9])))
        few = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 30)))
        other = dice.randrange(len(parts))
        way = dice.randrange(6)
        if way == 0:
            parts[at : at + 1] = few[:1]
        elif way == 1:
            parts[at : at + 4] = b"\xff\xff\xff\xff"
        elif way == 2:
            parts[at : at + len(few)] = b""
        elif way == 3:
            parts[at:at] = few
        elif way == 4:
            parts[at : at + 12] = parts[other : other + 12]
        elif at > 200:
            del parts[at:]
    return bytes(parts)


def refusal(function, *args, **options) -> str:
    """What is said in refusal; empty if nothing is."""
    try:
        function(*args, **options)
    except LLMBoostError as error:
        return str(error)
    return ""


def read_all(path) -> list[str]:
    """All that is said of a file."""
    said = [refusal(find_series, path)]
    for series in [] if said[0] else find_series(path):
        said += [str(series), refusal(read_series, series)]
        said += [refusal(read_pictures, series.files[0], color=color) for color in (False, True)]
    return said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_mutated_files_are_read_or_refused(samples, tmp_path, seed):
    dice = random.Random(seed)
    path = tmp_path / "x.dcm"
    tracemalloc.start()
    for _ in range(100):
        path.write_bytes(mutated(dice.choice(samples), dice))
        with warnings.catch_warnings(action="error"):
            assert all(line.isprintable() for line in read_all(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300 * 2**20
