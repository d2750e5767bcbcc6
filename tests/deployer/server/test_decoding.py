"""Decoders answer any bytes with an array or a refusal."""

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server import openinference
from deployer.server.errors import BadInput
from deployer.server.http import Request, Response, read_form, read_object
from deployer.server.predictor import Predictor, finish, load
from deployer.server.problems import Problem
from deployer.server.providers import Device
from deployer.server.signature import TensorSpec
from tests.deployer.server.conftest import identity, write_model

FORM = {b"content-type": b"multipart/form-data; boundary=b"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.sampled_from(sorted(openinference.DTYPES)),
    st.lists(JSON, max_size=5),
    st.lists(st.integers(), max_size=3),
)
def test_json_tensors_become_arrays_or_refusals(datatype: str, data: list[Any], shape: list[int]) -> None:
    spec = TensorSpec("x", datatype, (-1,) * len(shape))
    try:
        openinference.check(spec, datatype, shape)
        array = openinference.from_json(spec, data, shape)
    except BadInput:
        return
    assert list(array.shape) == shape
    assert array.dtype == openinference.DTYPES[datatype]


def test_a_long_text_among_numbers_is_refused_before_it_takes_memory() -> None:
    spec = TensorSpec("x", "FP32", (-1,))
    data = ["a" * 20_000, *[1] * 20_000]
    tracemalloc.start()
    with pytest.raises(BadInput):
        openinference.from_json(spec, data, [len(data)])
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [0, 2**70, 1]])
def test_shapes_beyond_any_memory_are_refused(shape: list[int]) -> None:
    spec = TensorSpec("x", "FP32", (-1, -1, -1))
    with pytest.raises(BadInput):
        openinference.from_json(spec, [], shape)


@given(st.sampled_from(sorted(openinference.DTYPES)), st.binary(max_size=40))
def test_binary_tensors_come_back_as_they_were(datatype: str, data: bytes) -> None:
    spec = TensorSpec("x", datatype, (-1,))
    width = openinference.DTYPES[datatype].itemsize
    for count in {len(data) // width, len(data) // 4, 1}:
        try:
            array = openinference.from_binary(spec, memoryview(data), [count])
        except BadInput:
            continue
        if datatype != "BOOL":  # any byte but 0 is true
            assert openinference.to_binary(array, datatype) == data


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (
        lambda: read_object(data),
        lambda: read_form(Request("POST", "/", FORM, data)),
        lambda: read_form(Request("POST", "/", FORM, b"--b" + data + b"\r\n--b--")),
    ):
        with contextlib.suppress(Problem, BadInput):
            assert isinstance(read(), dict)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(write_model(tmp_path_factory.mktemp("m"), identity(shape=("n",))))


@given(value=JSON)
def test_any_infer_request_is_answered_or_refused(predictor: Predictor, value: Any) -> None:
    protocol = openinference.OpenInference("demo", predictor, Device())
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": value}
    for body in (value, {"inputs": value}, {"inputs": [tensor]}):
        request = Request("POST", "/", {}, json.dumps(body).encode("utf-8", "surrogatepass"))
        with contextlib.suppress(Problem, BadInput):
            answer = finish(protocol.infer(request))
            assert isinstance(answer, Response)
            assert answer.status == 200
