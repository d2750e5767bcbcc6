"""Types of files: the shelf's model on files of many kinds, short ones, empty ones and disguises."""

import gzip
import io
import json
import wave
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deployer.examples import check
from deployer.server.errors import BadInput
from deployer.server.pipelines.file_type import FileTypes
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import Serve
from tests.deployer.server.pipelines.examples import examples
from tests.shelf_files import model_dir

LISTING = "filetype-magika"


@pytest.fixture(scope="module")
def model() -> FileTypes:
    found = load(model_dir(LISTING))
    assert isinstance(found, FileTypes)
    return found


def picture(form: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.txt", "some text in here\n" * 200)
        made.writestr("b.csv", "a,b\n1,2\n" * 200)
    return buffer.getvalue()


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as made:
        made.setparams((1, 2, 16_000, 0, "NONE", ""))
        made.writeframes(np.arange(8_000, dtype="<i2").tobytes())
    return buffer.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: picture("PNG"),
    "jpeg": lambda: picture("JPEG"),
    "gif": lambda: picture("GIF"),
    "zip": archive,
    "wav": sound,
    "gzip": lambda: gzip.compress(archive()),
    "json": lambda: json.dumps({"items": [{"name": "a", "total": n} for n in range(20)]}, indent=2).encode(),
    "html": lambda: b"<!doctype html><html><head><title>A</title></head><body><p>Hi</p></body></html>" * 3,
    "csv": lambda: b"name,age,city\nLi,30,Shenzhen\nWang,41,Beijing\n" * 10,
    "unknown": lambda: np.random.default_rng(2).bytes(5_000),
}


def test_the_server_answers_its_examples(serve: Serve) -> None:
    server = serve(model_dir(LISTING))
    for example in examples(LISTING):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]
    server.refuse({"file": {"base64": ""}})
    server.refuse({"file": 5})


@pytest.mark.parametrize("label", KINDS)
def test_files_are_told_by_their_content(model: FileTypes, label: str) -> None:
    answer = finish(model.predict({"file": KINDS[label]()}))
    assert answer["label"] == label
    assert answer["score"] > 0.5
    assert "/" in answer["mime"]


@pytest.mark.parametrize(
    ("data", "label"),
    [(b"hi", "txt"), (b"\xff\xfe\0", "unknown"), (b" " * 9_000 + b"ok", "txt"), ("中".encode(), "txt")],
)
def test_a_few_bytes_are_text_or_not(model: FileTypes, data: bytes, label: str) -> None:
    answer = finish(model.predict({"file": data}))
    assert (answer["label"], answer["score"]) == (label, 1.0)


def test_a_name_is_held_against_the_content(model: FileTypes) -> None:
    data = picture("PNG")
    assert finish(model.predict({"file": data, "name": "Scan.PNG"}))["name_fits"] is True
    assert finish(model.predict({"file": data, "name": "invoice.pdf"}))["name_fits"] is False
    assert finish(model.predict({"file": b"hi", "name": "README"}))["name_fits"] is None
    assert "name_fits" not in finish(model.predict({"file": data}))
    with pytest.raises(BadInput):
        finish(model.predict({"file": data, "name": 7}))


def test_an_unsure_guess_is_only_text_or_not(model: FileTypes) -> None:
    assert model.trusted("python", 0.3) == "txt"
    assert model.trusted("png", 0.3) == "unknown"
    assert model.trusted("markdown", 0.7) == "txt"
    assert model.trusted("markdown", 0.8) == "markdown"
    assert model.trusted("randombytes", 0.9) == "unknown"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=6_000))
def test_features_hold_both_ends(model: FileTypes, data: bytes) -> None:
    numbers = model.features(data)
    head, tail = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    assert numbers.shape == (2048,)
    assert bytes(numbers[: len(head)].tolist()) == head
    assert bytes(numbers[2048 - len(tail) :].tolist()) == tail
    assert (numbers[len(head) : 1024] == 256).all()
    assert (numbers[1024 : 2048 - len(tail)] == 256).all()
