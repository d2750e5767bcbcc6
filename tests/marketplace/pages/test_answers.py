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


def test_sound_is_played_and_never_shown_as_text() -> None:
    encoded = base64.b64encode(b"RIFF" + bytes(10_000)).decode()
    answer = {"audio": {"base64": encoded}, "duration": 1.5, "voice": "zf_xiaobei", "sample_rate": 24_000}
    shown = answers.present("text-to-speech", {"text": "你好"}, answer)
    assert shown.form == "sound"
    assert shown.values["uri"] == f"data:audio/wav;base64,{encoded}"
    assert len(str(shown.raw)) < 3000
    assert answers.present("text-to-speech", {}, answer | {"audio": {"base64": "aGk="}}).form == "json"


def test_rows_are_shown_with_their_answers() -> None:
    request = {"rows": [{"age": 30, "city": "成都"}, [1, 2]]}
    shown = answers.present("tabular-regression", request, {"results": [{"value": 2.5}, {"value": 1}]})
    assert [row["cells"] for row in shown.values["rows"]] == [["age: 30", "city: 成都"], ["1: 1", "2: 2"]]
    assert shown.values["rows"][0]["value"] == 2.5


def test_sentences_are_ordered_by_their_likeness() -> None:
    request = {"source": "a", "sentences": ["b", "c"]}
    shown = answers.present("sentence-similarity", request, {"scores": [0.1, 0.9]})
    assert shown.values["rows"][0]["scores"] == [("c", 0.9), ("b", 0.1)]


def test_objects_are_drawn_like_regions() -> None:
    request = {"image": {"base64": base64.b64encode(_png(1920, 960)).decode()}}
    box = {"xmin": 0, "ymin": 0, "xmax": 192, "ymax": 96}
    shown = answers.present(
        "object-detection", request, {"results": [{"label": "x", "score": 0.9, "box": box}]}
    )
    assert shown.form == "regions"
    assert shown.values["boxes"][0]["points"] == "0.0,0.0 96.0,0.0 96.0,48.0 0.0,48.0"


def _mask(width: int, height: int, left: int) -> dict[str, str]:
    """White from `left` on."""
    made = Image.new("L", (width, height), 0)
    made.paste(255, (left, 0, width, height))
    out = io.BytesIO()
    made.save(out, "PNG")
    return {"base64": base64.b64encode(out.getvalue()).decode()}


def test_a_mask_cuts_the_picture_out() -> None:
    answer = {"results": [{"label": "person", "score": 0.9, "area": 0.5, "mask": _mask(1920, 960, 960)}]}
    shown = answers.present("image-segmentation", {"image": answers.encode_media(_png(1920, 960))}, answer)
    assert shown.form == "masks"
    (part,) = shown.values["parts"]
    assert (part.label, part.score, part.area) == ("person", 0.9, 0.5)
    cut = Image.open(io.BytesIO(base64.b64decode(part.uri.partition(",")[2])))
    assert (cut.size, cut.mode) == ((960, 480), "RGBA")
    assert cut.getpixel((100, 100))[3] < 5 and cut.getpixel((900, 100)) == (255, 255, 255, 255)
    assert len(shown.raw["results"][0]["mask"]["base64"]) < 3000
    assert answers.present("image-segmentation", {"image": "AAAA"}, {"results": []}).values["parts"] == []


@pytest.mark.parametrize("mask", [{}, {"base64": "AAAA"}, None, {"base64": "%"}])
def test_a_mask_that_is_none_is_shown_as_json(mask: Any) -> None:
    answer = {"results": [{"label": "person", "score": 0.9, "area": 0.5, "mask": mask}]}
    assert (
        answers.present("image-segmentation", {"image": answers.encode_media(_png())}, answer).form == "json"
    )
