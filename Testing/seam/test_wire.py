"""Frames: what is sent is what is read, and nothing else is taken for a frame."""

from __future__ import annotations

import io
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from llmboost.wire import (
    DTYPES,
    MAX_BYTES,
    MAX_LINE,
    Message,
    ProtocolError,
    StreamEnded,
    read_hello,
    read_message,
    write_message,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARRAYS = arrays(st.sampled_from(sorted(DTYPES)), array_shapes(min_dims=0, min_side=0, max_side=4))


def line(table, id=1, kind="answer", fields=None) -> bytes:
    return json.dumps({"id": id, "kind": kind, "fields": fields or {}, "arrays": table}).encode() + b"\n"


def written(*messages: Message) -> bytes:
    stream = io.BytesIO()
    for message in messages:
        write_message(stream, message)
    return stream.getvalue()


@given(st.integers(0, 2**53), st.text(), st.dictionaries(st.text(), JSON), st.dictionaries(st.text(), ARRAYS))
def test_a_frame_arrives_as_it_was_sent(id, kind, fields, arrays):
    stream = io.BytesIO(written(Message(id, kind, fields, arrays), Message(7, "next", {}, {})))
    message = read_message(stream)
    assert (message.id, message.kind, message.fields, list(message.arrays)) == (id, kind, fields, list(arrays))
    for name, array in arrays.items():
        assert message.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(message.arrays[name], array)
    assert read_message(stream).kind == "next"
    assert read_message(stream) is None


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4).transpose(),
        np.arange(24).reshape(4, 6)[::2, ::-1],
        np.arange(5, dtype=">i2"),
        np.broadcast_to(np.float32(3), (2, 3)),
    ],
    ids=["transposed", "strided", "big endian", "broadcast"],
)
def test_any_layout_in_memory_arrives_as_the_same_values(array):
    received = read_message(io.BytesIO(written(Message(1, "x", {}, {"a": array})))).arrays["a"]
    np.testing.assert_array_equal(received, array)
    assert received.flags.c_contiguous
    assert received.flags.writeable


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([True]), np.array([1j]), np.array([None])])
def test_types_that_are_not_allowed_are_not_sent(array):
    stream = io.BytesIO()
    with pytest.raises(ProtocolError, match="'a'"):
        write_message(stream, Message(1, "x", {}, {"a": array}))
    assert not stream.getvalue()


def test_too_much_is_not_sent():
    with pytest.raises(ProtocolError, match="bytes of fields"):
        written(Message(1, "x", {"text": "x" * MAX_LINE}, {}))
    huge = np.broadcast_to(np.uint8(0), MAX_BYTES + 1)  # takes one byte
    with pytest.raises(ProtocolError, match="bytes of arrays"):
        written(Message(1, "x", {}, {"a": huge}))


@pytest.mark.parametrize(
    "table",
    [
        [["a", "object", [1]]],
        [["a", "O", [1]]],
        [["a", "bool", [1]]],
        [["a", "V8", [1]]],
        [["a", ["uint8"], [1]]],
        [["a", "uint8", [-1]]],
        [["a", "uint8", [1.0]]],
        [["a", "uint8", [True]]],
        [["a", "uint8", {}]],
        [["a", "uint8", 3]],
        [["a", "uint8", [1] * 9]],
        [["a", "uint8"]],
        [["a", "uint8", [1]], ["a", "uint8", [1]]],
        [[1, "uint8", [1]]],
        {"a": 1},
        None,
    ],
    ids=str,
)
def test_a_table_of_arrays_that_is_not_allowed_is_refused(table):
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO(line(table) + bytes(100)))


@pytest.mark.parametrize(
    "text",
    [
        b"rubbish\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"3\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        line([], id="1"),
        line([], id=True),
        line([], kind=3),
        line([], fields=[1]),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_frame_is_refused(text):
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO(text))


@pytest.mark.parametrize(
    "shape",
    [[MAX_BYTES + 1], [2**62], [2**40, 2**40], [MAX_BYTES // 2 + 1, 2], [10**1000]],
    ids=["cap", "2^62", "2^80", "axes", "digits"],
)
def test_announced_sizes_are_checked_before_memory_is_taken(shape):
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="announced"):
            read_message(io.BytesIO(line([["a", "uint8", shape]])))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_cap_holds_for_all_arrays_together():
    half = [2**31 + 1]
    with pytest.raises(ProtocolError, match="announced"):
        read_message(io.BytesIO(line([["a", "uint8", half], ["b", "uint8", half]])))


def test_no_bytes_but_axes_that_are_too_long():
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO(line([["a", "uint8", [0, 2**62, 2**62]]])))


HUGE = "1" + "0" * 4000  # an integer that JSON may hold, but of whose square Python makes no text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arrays", f'[["a","uint8",[{HUGE},{HUGE}]]]'),
        ("arrays", f'[["a","uint8",[0,{HUGE}]]]'),
        ("arrays", '[["a","uint8",[9223372036854775808]]]'),
        ("arrays", '[["a","uint8",[1,1,1,1,1,1,1,1,1]]]'),
        ("arrays", '[["a","uint8",[-1,-1]]]'),
        ("arrays", '[["a","uint8",[true]]]'),
        ("arrays", '[["a","uint8",[1.0]]]'),
        ("arrays", '[["a","uint8",3]]'),
        ("arrays", '[["a",["uint8"],[1]]]'),
        ("arrays", '[["a","u1",[1]]]'),
        ("arrays", '[["a",">f4,O",[1]]]'),
        ("arrays", '[["a","uint8",[1]],["a","uint8",[1]]]'),
        ("arrays", '{"abc":1}'),
        ("id", HUGE),
        ("id", "true"),
        ("kind", '["a"]'),
        ("fields", "[]"),
        ("fields", '{"a":' + "[" * 10**5 + "}"),
        ("fields", '{"a":' + "[" * 10**5 + "]" * 10**5 + "}"),
        ("fields", '{"a":' + "9" * 10**5 + "}"),
    ],
)
def test_what_is_no_frame_is_told_in_one_short_line(field, value):
    parts = {"id": "1", "kind": '"a"', "fields": "{}", "arrays": "[]", field: value}
    text = "{" + ",".join(f'"{name}":{part}' for name, part in parts.items()) + "}\n"
    with pytest.raises(ProtocolError) as error:
        read_message(io.BytesIO(text.encode()))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


def test_fields_too_deep_to_be_sent_are_an_error():
    deep: list = []
    for _ in range(10**5):
        deep = [deep]
    with pytest.raises(ProtocolError, match="cannot be sent"):
        written(Message(1, "x", {"deep": deep}, {}))


def test_a_line_has_an_end():
    stream = io.BytesIO(b"x" * (3 * MAX_LINE))
    with pytest.raises(ProtocolError, match="too long"):
        read_message(stream)
    assert stream.tell() <= MAX_LINE


def test_every_truncation_is_noticed():
    whole = written(Message(1, "x", {"text": "text"}, {"a": np.arange(9), "b": np.arange(3)}))
    for size in range(1, len(whole)):
        with pytest.raises(StreamEnded):
            read_message(io.BytesIO(whole[:size]))


@pytest.mark.parametrize(
    "noise", [b"Welcome!\n\n{\n", b'{"id": 1}\n', b"\xff\x00\n", b"x" * (2 * MAX_LINE) + b"\n", b""]
)
def test_hello_is_found_after_noise(noise):
    stream = io.BytesIO(noise + line([], kind="hello", fields={"pid": 3}) + line([]))
    assert read_hello(stream).fields == {"pid": 3}
    assert read_message(stream).kind == "answer"


def test_noise_alone_is_no_hello():
    assert read_hello(io.BytesIO(b"Welcome!\n" + line([]))) is None
