"""CTranslate2's file: what is written is read, and whatever else is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.ctranslate2 import Variables
from tests.deployer.optimizer.convert.whispers import model_bin, text, variable

HALVES = np.arange(6, dtype=np.float16).reshape(2, 3)
SINGLES = np.array([0.5, -2.0], np.float32)
SOUND = model_bin(
    [variable("a/weight", HALVES), variable("b", SINGLES), variable("n", np.array(-8, np.int16))],
    [("c", "a/weight")],
)


def opened(folder: Path, content: bytes) -> Variables:
    (folder / "model.bin").write_bytes(content)
    return Variables.open(folder / "model.bin")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = opened(tmp_path, SOUND)
    assert (found.specification, found.revision) == ("WhisperSpec", 3)
    assert list(found.entries) == ["a/weight", "b", "n", "c"]
    assert found.shape("a/weight") == found.shape("c") == (2, 3)
    assert found.floats("c").dtype == np.float16
    np.testing.assert_array_equal(found.floats("c"), HALVES)
    np.testing.assert_array_equal(found.floats("b"), SINGLES)
    assert found.integer("n") == -8
    assert found.integer("m", 5) == 5
    assert "a/weight" in found and "d" not in found


def test_brain_floats_are_the_upper_half(tmp_path: Path) -> None:
    upper = (SINGLES.view(np.uint32) >> 16).astype(np.uint16).view(np.int16)
    found = opened(tmp_path, model_bin([variable("a", upper, kind=5)]))
    np.testing.assert_array_equal(found.floats("a"), SINGLES)


def test_what_is_no_float_or_no_integer_is_named(tmp_path: Path) -> None:
    numbers = variable("n", np.array([1, 2], np.int8)), variable("f", np.array([1, np.nan], np.float32))
    found = opened(tmp_path, model_bin(numbers))
    for read in (
        lambda: found.floats("n"),
        lambda: found.floats("f"),
        lambda: found.floats("gone"),
        lambda: found.shape("gone"),
        lambda: found.integer("n"),
        lambda: found.integer("gone"),
    ):
        with pytest.raises(ConversionFailed) as refused:
            read()
        assert refused.value.facts["tensor"] in ("n", "f", "gone")
        assert refused.value.facts["why_zh"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "4 bytes are wanted"),
        (model_bin([], version=5), "version 5"),
        (SOUND + b"x", "1 bytes behind"),
        (model_bin([variable("a", HALVES), variable("a", HALVES)]), "twice"),
        (model_bin([variable("a", HALVES)], [("a", "a")]), "alias"),
        (model_bin([variable("a", HALVES)], [("b", "gone")]), "alias"),
        (model_bin([variable("a", HALVES)], [("b", "a"), ("b", "a")]), "alias"),
        (model_bin([variable("a", HALVES, size=10)]), "do not fit"),
        (model_bin([variable("a", HALVES, size=(1 << 32) - 1)]), "do not fit"),
        (model_bin([variable("a", HALVES, kind=9)]), "do not fit"),
        (model_bin([variable("a", HALVES, rank=200)]), "200 axes"),
        (model_bin([])[:-4] + b"\xff" * 4, "a count of"),
        (SOUND[:4] + b"\x00\x00" + SOUND[6:], "no text"),
        (SOUND.replace(text("a/weight"), text("\x00/weight")), "no text"),
        (SOUND.replace(b"a/weight\0", b"\xff/weight\0"), "no text"),
    ],
)
def test_what_is_not_sound_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(ConversionFailed, match=why) as refused:
        opened(tmp_path, content)
    assert refused.value.facts["why_zh"]


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    for length in range(len(SOUND)):
        with pytest.raises(ConversionFailed):
            opened(tmp_path, SOUND[:length])


@given(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=8))
@settings(max_examples=300)
def test_any_damage_is_refused_or_read_within_bounds(
    tmp_path_factory: pytest.TempPathFactory, place: int, damage: bytes
) -> None:
    content = SOUND[:place] + damage + SOUND[place + len(damage) :]
    try:
        found = opened(tmp_path_factory.getbasetemp(), content)
        for name in found.entries:
            assert found.floats(name).shape == found.shape(name)
    except ConversionFailed as refused:
        assert refused.facts["why"]
