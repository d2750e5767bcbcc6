"""What the files of every task look like, down to the answers of real models."""

import json
import zipfile

import numpy as np
import pytest

from deployer.optimizer.metrics import judge_for, value
from deployer.optimizer.rows import key_of, read, rows_in, split, wanted_by
from deployer.server.predictor import finish, load
from tests.shelf_files import model_dir

from .files import as_csv, as_jsonl, put, refused, taken


def numbered(count, **columns):
    """Rows whose cells are made of their numbers."""
    return [{name: make(n) for name, make in columns.items()} for n in range(count)]


def test_structured_labels_are_json_in_a_cell(tmp_path):
    rows = numbered(
        60,
        text=lambda n: f"李娜去上海{n}",
        label=lambda n: [{"label": "PER", "start": 0, "end": 2}, {"label": "LOC", "text": "上海"}][: n % 3],
    )
    cells = [{**row, "label": json.dumps(row["label"])} for row in rows]
    one = taken(put(tmp_path, as_jsonl(rows), "data.jsonl"), "token-classification")
    other = taken(put(tmp_path, as_csv(cells)), "token-classification")
    assert [row.label for row in one.rows] == [row.label for row in other.rows]
    facts = refused(
        put(tmp_path, as_csv([{"text": "a", "label": "[{]"}])), "data-label", "token-classification"
    )
    assert (facts["row"], facts["why"][:11]) == (1, "is not JSON")
    unknown = [{"text": "a", "label": '[{"label": "PERSON", "start": 0, "end": 1}]'}]
    facts = refused(
        put(tmp_path, as_csv(unknown)), "data-label-unknown", "token-classification", labels=["PER"]
    )
    assert facts["meant"] == "PER"


def test_numbers_as_labels(tmp_path):
    rows = numbered(60, source=lambda n: f"a{n}", sentence=lambda n: f"b{n}", label=lambda n: n % 6 / 5)
    found = taken(put(tmp_path, as_csv(rows)), "sentence-similarity", "source")
    assert found.rows[0].request["sentences"][0].startswith("b")
    assert {row.label for row in found.rows} == {n / 5 for n in range(6)}
    for label in ("high", "nan", "inf", "1_0", "true"):
        bad = [*rows[:1], {"source": "a", "sentence": "b", "label": label}]
        assert refused(put(tmp_path, as_csv(bad)), "data-label", "sentence-similarity", "source")["row"] == 2
    same = [{**row, "label": 3} for row in rows]
    assert (
        refused(put(tmp_path, as_csv(same)), "data-one-class", "sentence-similarity", "source")["label"]
        == "3"
    )


def test_columns_of_a_table_are_the_models(tmp_path):
    columns = {"age": True, "city": True, "income": False}
    rows = numbered(60, age=lambda n: n, city=lambda n: "上海", id=lambda n: n, label=lambda n: n * 2.5)
    options = {"task": "tabular-regression", "field": "rows", "columns": columns}
    found = taken(put(tmp_path, as_csv(rows)), **options)
    row = next(row for row in found.rows if row.number == 2)
    assert row.request == {"rows": [{"age": "1", "city": "上海"}]}
    assert row.label == 2.5
    assert found.ignored == ("id",)
    nested = [{"rows": [{"age": row["age"], "city": row["city"]}], "label": row["label"]} for row in rows]
    for form in (nested, [{**row, "rows": row["rows"][0]} for row in nested]):
        found = taken(put(tmp_path, as_jsonl(form), "data.jsonl"), "tabular-regression", "rows")
        assert {one.request["rows"][0]["age"] for one in found.rows} == set(range(60))
    missing = [{"Age ": 1, "town": "x", "label": 3}]
    facts = refused(put(tmp_path, as_csv(missing)), "data-columns", **options)
    assert (facts["missing"], facts["meant"]) == ("city", "town → city")
    assert refused(put(tmp_path, "label\n1\n"), "data-columns", "tabular-regression", "rows")


def test_a_column_of_the_model_may_be_called_target(tmp_path):
    rows = numbered(60, target=lambda n: n)
    found = taken(put(tmp_path, as_csv(rows)), "tabular-regression", "rows", columns={"target": True})
    assert not found.labelled


def test_two_texts_in_a_row_are_query_and_document(tmp_path):
    rows = numbered(60, text=lambda n: f"q{n}", positive=lambda n: f"d{n}")
    found = taken(put(tmp_path, as_csv(rows)), "feature-extraction")
    assert found.labelled
    given = [{"embeddings": [[np.cos(n / 20), np.sin(n / 20)]] * 2} for n in range(60)]
    assert value(judge_for("feature-extraction").tally(given, [row.label for row in found.rows])) == 1
    texts = found.rows[0].request["text"]
    assert texts[0][0] == "q" and texts[1] == "d" + texts[0][1:]


def test_texts_of_a_group_stay_together_when_there_are_many(tmp_path):
    rows = numbered(300, text=lambda n: f"t{n}", label=lambda n: f"g{n // 2}")
    choosing, judged = split(taken(put(tmp_path, as_csv(rows)), "feature-extraction"))
    assert not {row.label for row in choosing} & {row.label for row in judged}
    assert 150 < len(judged) < 250


def test_texts_without_partners_cannot_be_looked_for(tmp_path):
    rows = numbered(100, text=lambda n: f"t{n}", label=lambda n: f"g{n}")
    assert refused(put(tmp_path, as_csv(rows)), "data-no-pairs", "feature-extraction")["count"] == 0


def test_speech_takes_no_labels(tmp_path):
    rows = numbered(60, text=lambda n: f"t{n}", label=lambda n: "x")
    assert refused(put(tmp_path, as_csv(rows)), "data-label", "text-to-speech")["row"] == 1
    assert taken(put(tmp_path, as_csv([{"text": row["text"]} for row in rows])), "text-to-speech").total == 60


def test_an_empty_text_may_be_right(tmp_path):
    rows = numbered(
        60,
        audio=lambda n: {"base64": "AAA" + chr(65 + n % 26) + "AA" + chr(65 + n // 26) + "A"},
        label=lambda n: "",
    )
    found = taken(put(tmp_path, as_jsonl(rows), "data.jsonl"), "automatic-speech-recognition", "audio")
    assert found.labelled and found.rows[0].label == ""


# tensors


def arrays(tmp_path, name="data.npz", **given):
    path = tmp_path / name
    np.savez(path, **given)
    return path


def test_arrays_by_name(tmp_path):
    random = np.random.default_rng(0)
    x, ids = random.random((80, 2, 3)).astype(np.float32), np.arange(80)
    path = arrays(tmp_path, x=x, ids=ids, label=ids % 3)
    columns = {"x": True, "ids": True}
    found = taken(path, "tensors", "inputs", columns=columns)
    row = next(row for row in found.rows if row.number == 5)
    assert row.request == {"inputs": {"x": x[4:5].tolist(), "ids": [4]}}
    assert row.label == "1"
    assert found.classes == {"0": 27, "1": 27, "2": 26}
    compressed = tmp_path / "packed.npz"
    np.savez_compressed(compressed, x=x, ids=ids, label=ids % 3)
    assert [one.key for one in taken(compressed, "anything", "inputs", columns=columns).rows] == [
        one.key for one in found.rows
    ]


def test_inputs_as_json(tmp_path):
    rows = numbered(60, inputs=lambda n: {"x": [[n, 1.5]]}, label=lambda n: n % 2)
    found = taken(put(tmp_path, as_jsonl(rows), "data.jsonl"), "tensors", "inputs")
    assert found.rows[0].request["inputs"]["x"][0][1] == 1.5
    rows = numbered(60, rows=lambda n: [[n, 2]], label=lambda n: n % 2)
    for path in (
        put(tmp_path, as_jsonl(rows), "data.jsonl"),
        put(tmp_path, as_csv([{**row, "rows": json.dumps(row["rows"])} for row in rows])),
    ):
        assert taken(path, "tensors", "rows").rows[0].request["rows"][0][1] == 2
    assert refused(put(tmp_path, '{"label": 1}', "data.jsonl"), "data-columns", "tensors", "rows")
    assert refused(put(tmp_path, '{"inputs": 1}', "data.jsonl"), "data-cell", "tensors", "rows")["row"] == 1


def test_arrays_with_other_names(tmp_path):
    facts = refused(
        arrays(tmp_path, X=np.ones((60, 2))), "data-columns", "tensors", "rows", columns={"x": True}
    )
    assert (facts["missing"], facts["meant"]) == ("x", "X → x")
    assert refused(arrays(tmp_path, label=np.ones(60)), "data-columns", "tensors", "rows")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"x": np.ones((60, 2)), "label": np.ones(59)}, "data-broken"),
        ({"x": np.ones((60, 2)), "label": np.ones((60, 2))}, "data-broken"),
        ({"x": np.float32(1)}, "data-broken"),
        ({"x": np.ones((60, 2), np.complex64)}, "data-broken"),
        ({"x": np.asfortranarray(np.ones((60, 2, 3)))}, "data-broken"),
        ({"x": np.array([{}] * 60, object)}, "data-broken"),
        ({"x": np.full((60, 2), np.nan)}, "data-not-finite"),
        ({"x": np.ones((0, 2))}, "data-empty"),
        ({"x": np.ones((60, 2))}, "data-too-few"),
        ({"x": np.arange(3.0)[:, None]}, "data-too-few"),
        ({"x": np.arange(60.0)[:, None], "label": np.zeros(60, int)}, "data-one-class"),
        ({"x": np.arange(60.0)[:, None], "label": np.full(60, "")}, "data-label"),
    ],
)
def test_arrays_that_cannot_be_rows(tmp_path, given, code):
    assert refused(arrays(tmp_path, **given), code, "tensors", "rows")


def test_arrays_for_a_model_of_texts(tmp_path):
    assert refused(arrays(tmp_path, x=np.ones((60, 2))), "data-format")["found"] == ".npz"


def test_arrays_that_swell_or_are_cut_short(tmp_path):
    path = tmp_path / "data.npz"
    head = arrays(tmp_path, x=np.ones((60, 4))).read_bytes()
    assert zipfile.is_zipfile(path)
    path.write_bytes(head[: len(head) // 2])
    assert refused(path, "data-zip-broken", "tensors", "rows")
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(
            "x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (60, 4)}"
        )
    assert refused(path, "data-broken", "tensors", "rows")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (60, 99999999999), }"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(
            "x.npy", b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n"
        )
    assert refused(path, "data-too-large", "tensors", "rows")
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("x.npy", b"not an array")
    assert refused(path, "data-broken", "tensors", "rows")["why"] == "x is not an array"


# rows of no file


def test_examples_are_rows_too():
    one, other = rows_in([{"text": "a"}, {"text": "b"}])
    assert (one.number, other.number, one.label) == (1, 2, None)
    assert one.key == key_of({"text": "a"}) != other.key


# with real models


def answers(predictor, rows):
    return [finish(predictor.predict(row.request)) for row in rows]


def test_reviews_in_chinese_end_to_end(tmp_path):
    predictor = load(model_dir("zh-sentiment"))
    good = ["物流很快，质量比想象中好", "很满意，下次再来", "屏幕清晰，性价比高", "包装完好，味道不错"]
    bad = ["第三天就坏了，太失望了", "客服不回复，要求退货", "质量很差，浪费钱", "隔音太差，再也不来了"]
    rows = [
        {"文本": f"{(good, bad)[n % 2][n // 2 % 4]}，第 {n} 次购买", "标签": ("positive", "negative")[n % 2]}
        for n in range(80)
    ]
    found = taken(
        put(tmp_path, as_csv(rows).encode("gb18030")), **{"task": predictor.task, **wanted_by(predictor)}
    )
    judge = judge_for(predictor.task)
    given = answers(predictor, found.rows)
    tally = judge.tally(given, [row.label for row in found.rows])
    assert value(tally) > 0.9
    assert judge.agreement(given, given).min() == 1
    predictor.close()


def test_file_types_end_to_end(tmp_path):
    predictor = load(model_dir("filetype-magika"))
    rows = []
    for n in range(60):
        name, text = (
            (f"{n}.py", f"import os\n\ndef run_{n}(path):\n    return os.listdir(path)\n" * 5),
            (f"{n}.json", json.dumps({"number": n, "items": [{"a": k} for k in range(20)]})),
        )[n % 2]
        put(tmp_path, text, f"files/{name}")
        rows.append({"file": f"files/{name}", "label": ("python", "json")[n % 2]})
    options = {"task": predictor.task, **wanted_by(predictor)}
    found = taken(put(tmp_path, as_csv(rows)), **options)
    tally = judge_for(predictor.task).tally(answers(predictor, found.rows), [row.label for row in found.rows])
    assert value(tally) > 0.8
    facts = refused(put(tmp_path, "file,label\nfiles/0.py,pyton\n"), "data-label-unknown", **options)
    assert facts["meant"] == "python"
    predictor.close()


def test_every_model_of_the_shelf_says_what_it_wants():
    wanted = {}
    for listing in (
        "doc-layout-cdla",
        "vad-silero-6",
        "zh-lac-ner",
        "en-minilm-l6-int8",
        "ocr-ppocrv6-small",
    ):
        predictor = load(model_dir(listing))
        wanted[predictor.task] = wanted_by(predictor)
        predictor.close()
    assert {task: one["field"] for task, one in wanted.items()} == {
        "document-layout": "image",
        "voice-activity-detection": "audio",
        "token-classification": "text",
        "feature-extraction": "text",
        "image-to-text": "image",
    }
    assert "title" in wanted["document-layout"]["labels"]


def test_a_field_that_a_model_does_not_take_is_not_sent(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text\n" + "".join(f"第{n}句\n" for n in range(70)), encoding="utf-8")
    long = read(path, "token-classification", field="text", takes=["text", "truncate"])
    short = read(path, "token-classification", field="text", takes=["text"])
    assert long.rows[0].request["truncate"] is True
    assert "truncate" not in short.rows[0].request
