"""Requests from what people fill in, and answers in the form that people read."""

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from marketplace.pages import answers
from marketplace.pages.words import FIELDS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _png(width: int = 40, height: int = 20) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(out, "PNG")
    return out.getvalue()


def test_lines_become_texts() -> None:
    assert answers.lines_of(" one ") == "one"
    assert answers.lines_of("one\n\n two \n") == ["one", "two"]
    assert answers.text_of({"text": ["one", "two"]}) == "one\ntwo"


def test_media_is_found_in_both_spellings() -> None:
    encoded = base64.b64encode(b"RIFF").decode()
    assert answers.media_of({"audio": {"base64": encoded}}, "audio") == b"RIFF"
    assert answers.media_of({"audio": encoded}, "audio") == b"RIFF"
    assert answers.media_of({}, "audio") is None
    assert answers.media_of({"audio": 3}, "audio") is None
    assert answers.encode_media(b"RIFF") == {"base64": encoded}


def test_picture_is_made_small_and_keeps_its_scale() -> None:
    shown = answers.picture(_png(1920, 960))
    assert shown is not None
    assert (shown.width, shown.height, shown.scale) == (960, 480, 0.5)
    assert shown.uri.startswith("data:image/webp;base64,")
    assert answers.picture(b"no picture") is None
    assert answers.picture(None) is None


def test_similarity_of_texts() -> None:
    shown = answers.present(
        "feature-extraction",
        {"text": ["a", "b"]},
        {"embeddings": [[1.0, 0.0], [0.0, 2.0]], "dimensions": 2},
    )
    assert shown.form == "similarity"
    assert shown.values["matrix"] == [[1.0, 0.0], [0.0, 1.0]]


def test_entities_cut_the_text() -> None:
    shown = answers.present(
        "token-classification",
        {"text": "李娜在上海"},
        {
            "results": [
                {
                    "tokens": [],
                    "entities": [
                        {"text": "李娜", "label": "PER", "start": 0, "end": 2},
                        {"text": "上海", "label": "LOC", "start": 3, "end": 5},
                    ],
                }
            ]
        },
    )
    assert shown.values["rows"][0]["pieces"] == [("李娜", "PER"), ("在", ""), ("上海", "LOC")]


def test_boxes_are_drawn_in_the_shown_size() -> None:
    request = {"image": answers.encode_media(_png(1920, 960))}
    answer = {
        "text": "x",
        "lines": [{"text": "x", "score": 1.0, "box": [[0, 0], [100, 0], [100, 50], [0, 50]]}],
    }
    shown = answers.present("image-to-text", request, answer)
    assert shown.values["polygons"] == ["0.0,0.0 50.0,0.0 50.0,25.0 0.0,25.0"]


def test_long_lists_of_numbers_are_cut() -> None:
    assert answers.shorten({"e": list(range(384))}) == {"e": [0, 1, 2, 3, 4, 5, "… 384"]}


@pytest.mark.parametrize("task", sorted(FIELDS))
@given(request=st.dictionaries(st.text(max_size=5), JSON), answer=st.dictionaries(st.text(max_size=5), JSON))
def test_an_answer_of_another_form_is_shown_as_json(
    task: str, request: dict[str, Any], answer: dict[str, Any]
) -> None:
    shown = answers.present(task, request, answer)
    assert shown.form in ("json", "filetype")
