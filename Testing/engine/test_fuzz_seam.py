"""Damaged indices of case stores, and damaged messages: each is read, or refused with one line; see fuzzing.py."""

import io
import json

import numpy as np
from hypothesis import strategies as st

from llmboost.io.image import Image
from llmboost.wire import Message, write_message

from .dicom_samples import noise
from .fuzzing import JSON, mutated, mutations, replaced


def test_case_stores(fuzz, tmp_path):
    from LLMBoostLib.training.cases import Kind
    from LLMBoostLib.training.casestore import CaseStore

    image = Image(noise((6, 5, 4)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    store = CaseStore(tmp_path / "cases")
    store.add(image, [(Kind("liver"), image.array > 10)])
    path = tmp_path / "cases" / "cases.json"
    data = path.read_bytes()

    def lie(changes):
        changed = json.loads(data)
        for place, new in changes:
            changed = replaced(changed, place, new)
        path.write_text(json.dumps(changed), encoding="utf-8", errors="surrogatepass")

    places = st.lists(st.integers(0, 99), min_size=1, max_size=4)
    fuzz("store", path, st.lists(st.tuples(places, JSON), min_size=1, max_size=2), lie)
    path.write_bytes(data)
    fuzz("store", path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))


def test_messages(fuzz, tmp_path):
    path, stream = tmp_path / "frames", io.BytesIO()
    for n in range(2):
        write_message(stream, Message(n, "request", {"model": "a"}, {"volume": np.zeros((3, 4, 5), np.int16)}))
    path.write_bytes(data := stream.getvalue())
    fuzz("frame", path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))
