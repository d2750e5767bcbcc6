"""Tables of texts: what spreadsheets and scripts write, and what is refused of it."""

import hashlib
import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.optimizer.rows import DataRefused, read, split
from deployer.optimizer.rows import keeping as keepings

from .files import as_csv, as_jsonl, put, refused, reviews, taken

LABELS = ["negative", "positive"]


def texts(rows):
    return {row.request["text"] for row in rows.rows}


def test_rows_are_requests_with_labels(tmp_path):
    path = put(tmp_path, as_csv(reviews()))
    found = taken(path, labels=LABELS)
    assert (found.total, found.labelled, found.name) == (100, True, "data.csv")
    assert found.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.classes == {"negative": 50, "positive": 50}
    row = next(row for row in found.rows if row.number == 1)
    assert row.request == {"text": "第 0 条评论，很满意", "truncate": True}
    assert row.label == "negative"
    assert row.key == read(path, "text-classification", field="text").rows[found.rows.index(row)].key


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_whatever_a_spreadsheet_writes(tmp_path, charset, delimiter, end):
    content = as_csv(reviews(), delimiter, end)
    found = taken(put(tmp_path, content.encode(charset)), labels=LABELS)
    assert texts(found) == {row["text"] for row in reviews()}


def test_json_by_line_and_csv_are_the_same_rows(tmp_path):
    one = taken(put(tmp_path, as_csv(reviews())))
    other = taken(put(tmp_path, as_jsonl(reviews()), "data.jsonl"))
    sniffed = taken(put(tmp_path, "\ufeff\n" + as_jsonl(reviews()), "upload"))
    assert (
        [row.key for row in one.rows] == [row.key for row in other.rows] == [row.key for row in sniffed.rows]
    )


def test_a_cell_may_hold_delimiters_quotes_and_line_ends(tmp_path):
    rows = [{"text": f'甲,"乙";\n丙\t{n}', "label": LABELS[n % 2]} for n in range(70)]
    assert texts(taken(put(tmp_path, as_csv(rows)))) == {row["text"] for row in rows}


def test_a_file_of_one_column_needs_no_quotes(tmp_path):
    lines = [f"Well, number {n}; it works" for n in range(70)]
    found = taken(put(tmp_path, "text\n" + "\n".join(lines)))
    assert texts(found) == set(lines)
    assert not found.labelled


@pytest.mark.parametrize(("text", "label"), [("文本", "标签"), (" text ", " label"), ("TEXT", "Label")])
def test_names_that_mean_the_same(tmp_path, text, label):
    rows = [{text: row["text"], label: row["label"]} for row in reviews()]
    assert taken(put(tmp_path, as_csv(rows)), labels=LABELS).labelled


@pytest.mark.parametrize(
    ("text", "label", "meant"),
    [
        ("评论", "标签", "评论 → text"),
        ("txet", "label", "txet → text"),
        ("whatever", "label", "whatever → text"),
        ("text", "target", "target → label"),
        ("text", "y", "y → label"),
        ("text", "lable", "lable → label"),
        ("text", "类别", "类别 → label"),
    ],
)
def test_names_that_may_be_meant_are_suggested(tmp_path, text, label, meant):
    rows = [{text: row["text"], label: row["label"]} for row in reviews()]
    facts = refused(put(tmp_path, as_csv(rows)), "data-columns")
    assert facts["meant"] == meant
    assert facts["found"] == f"{text}, {label}"
    assert facts["expected"] == "text, label"


def test_other_columns_are_left_out_and_named(tmp_path):
    rows = [{"id": n, **row, "date": "2026-01-01"} for n, row in enumerate(reviews())]
    found = taken(put(tmp_path, as_csv(rows)))
    assert found.ignored == ("id", "date")
    assert set(found.rows[0].request) == {"text", "truncate"}


def test_empty_lines_and_columns_of_a_spreadsheet_hold_nothing(tmp_path):
    lines = ["text,label,,", *(f"{row['text']},{row['label']},," for row in reviews()), ",,,", ""]
    assert taken(put(tmp_path, "\n\n".join(lines))).total == 100


def test_a_number_is_the_place_of_a_class(tmp_path):
    for form in (as_csv, as_jsonl):
        rows = [{"text": f"t{n}", "label": n % 2} for n in range(70)]
        found = taken(put(tmp_path, form(rows), "data.txt"), labels=LABELS)
        assert found.classes == {"negative": 35, "positive": 35}
    rows = [{"text": f"t{n}", "label": float(n % 2)} for n in range(70)]
    assert taken(put(tmp_path, as_csv(rows)), labels=LABELS).classes.keys() == set(LABELS)


def test_a_number_that_is_a_name_is_the_name(tmp_path):
    rows = [{"text": f"t{n}", "label": (90, 0)[n % 2]} for n in range(70)]
    assert taken(put(tmp_path, as_csv(rows)), labels=["0", "90"]).classes == {"90": 35, "0": 35}


# repeats


def test_repeats_are_counted_and_left_out(tmp_path):
    found = taken(put(tmp_path, as_csv(reviews() + reviews(30))))
    assert (found.total, len(found.rows), found.duplicates, found.contradictions) == (130, 100, 30, 0)


def test_contradictions_are_counted_and_stay_together(tmp_path):
    turned = [{**row, "label": LABELS[row["label"] == "negative"]} for row in reviews(20)]
    found = taken(put(tmp_path, as_csv(reviews() + turned)))
    assert (len(found.rows), found.duplicates, found.contradictions) == (120, 0, 20)
    for side in split(found):
        assert len({row.key for row in side}) + sum(row.number > 100 for row in side) == len(side)


# refusals


def test_no_file(tmp_path):
    assert refused(tmp_path / "none.csv", "data-missing") == {"name": "none.csv"}
    assert refused(tmp_path / ("x" * 300), "data-missing")
    assert refused(tmp_path / "a\0b", "data-missing")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "text,label\n", "  \n,,\n", "text,label\n,\n"])
def test_nothing_in_it(tmp_path, content):
    assert refused(put(tmp_path, content), "data-empty")


def test_nothing_in_it_by_line(tmp_path):
    assert refused(put(tmp_path, "\n \n", "data.jsonl"), "data-empty")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PAR1....", "Parquet"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Office 97 (.xls)"),
        (b"%PDF-1.7", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"text\0label", "binary"),
    ],
)
def test_other_files_are_named(tmp_path, content, found):
    assert refused(put(tmp_path, content), "data-format")["found"] == found


def test_a_json_array_is_another_form(tmp_path):
    assert (
        refused(put(tmp_path, json.dumps(reviews()), "data.json"), "data-format")["found"] == "a JSON array"
    )


@pytest.mark.parametrize("charset", ["big5", "shift_jis", "windows-1252", "euc-kr"])
def test_texts_in_another_encoding(tmp_path, charset):
    text = {
        "big5": "這個產品品質很好",
        "shift_jis": "とても満足しています",
        "windows-1252": "café très agréable",
        "euc-kr": "배송이 빨라요",
    }[charset]
    rows = [{"text": f"plain {n}", "label": LABELS[n % 2]} for n in range(70)] + [
        {"text": text, "label": "positive"}
    ] * 3
    facts = refused(put(tmp_path, as_csv(rows).encode(charset)), "data-encoding")
    assert facts["line"] == 72


def test_half_a_character_at_the_end(tmp_path):
    assert refused(put(tmp_path, as_csv(reviews()).encode() + b"\xe4\xbd"), "data-encoding")
    assert refused(put(tmp_path, as_csv(reviews()).encode("utf-16") + b"\x41"), "data-encoding")


def test_a_row_of_another_length_is_named(tmp_path):
    facts = refused(put(tmp_path, "text,label\na,x\nb,x,y\n"), "data-broken")
    assert (facts["row"], facts["line"]) == (2, 3)
    assert "3 cells for 2 columns" in facts["why"]


def test_an_open_quote_is_named(tmp_path):
    facts = refused(put(tmp_path, 'text,label\na,x\n"b,x\n' + "c,x\n" * 10), "data-broken")
    assert facts["row"] == 2


def test_a_column_twice(tmp_path):
    assert refused(put(tmp_path, "text,text\na,b\n"), "data-broken")["row"] == 0


@pytest.mark.parametrize(
    "line", ['{"text": ', "[1, 2]", '"text"', '{"text": "a"} x', "3", "[" * 2000 + "]" * 2000]
)
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    facts = refused(put(tmp_path, f'{{"text": "a"}}\n\n{line}\n', "data.jsonl"), "data-broken")
    assert (facts["row"], facts["line"]) == (2, 3)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(tmp_path, number):
    line = f'{{"age": {number}, "label": 1}}'
    with pytest.raises(DataRefused) as caught:
        read(put(tmp_path, line, "data.jsonl"), "tabular-regression", field="rows")
    assert caught.value.code in ("data-not-finite", "data-broken")
    assert caught.value.facts["row"] == 1


@pytest.mark.parametrize("text", ["", "  ", "x" * 100_001, None, ["a"], {"a": 1}])
def test_a_text_that_cannot_be_one_is_named(tmp_path, text):
    rows = [*reviews(2), {"text": text, "label": "positive"}]
    facts = refused(put(tmp_path, as_jsonl(rows), "data.jsonl"), "data-cell")
    assert (facts["row"], facts["line"], facts["column"]) == (3, 3, "text")


def test_a_huge_cell(tmp_path):
    rows = [*reviews(2), {"text": "x" * 200_000, "label": "positive"}]
    facts = refused(put(tmp_path, as_csv(rows)), "data-too-large")
    assert (facts["row"], facts["limit"]) == (3, 131_072)


def test_a_huge_line(tmp_path):
    line = '{"text": "' + "x" * (33 << 20)
    assert refused(put(tmp_path, line, "data.jsonl"), "data-too-large")["line"] == 1


def test_labels_that_are_missing_in_places(tmp_path):
    rows = [row if n % 7 else {**row, "label": ""} for n, row in enumerate(reviews())]
    facts = refused(put(tmp_path, as_csv(rows)), "data-labels-missing")
    assert facts["rows"] == "1, 8, 15, 22, 29, 36, 43, 50, 57, 64, …"
    assert (facts["count"], facts["total"]) == (15, 100)


def test_labels_that_are_missing_everywhere_are_no_labels(tmp_path):
    assert not taken(put(tmp_path, as_csv([{**row, "label": ""} for row in reviews()]))).labelled


def test_an_unknown_label_is_named_with_the_known(tmp_path):
    rows = [*reviews(3), {"text": "a", "label": "Positiv"}]
    facts = refused(put(tmp_path, as_csv(rows)), "data-label-unknown", labels=LABELS)
    assert (facts["row"], facts["label"], facts["meant"]) == (4, "Positiv", "positive")
    assert facts["known"] == "negative, positive"
    facts = refused(put(tmp_path, "text,label\na,7\n"), "data-label-unknown", labels=LABELS)
    assert facts["label"] == "7"


def test_a_label_of_another_form(tmp_path):
    facts = refused(put(tmp_path, as_jsonl([{"text": "a", "label": ["x"]}]), "data.jsonl"), "data-label")
    assert (facts["row"], facts["expected"]) == (1, "the name of a class")


def test_one_class_alone(tmp_path):
    rows = [{**row, "label": "positive"} for row in reviews()]
    assert refused(put(tmp_path, as_csv(rows)), "data-one-class") == {
        "name": "data.csv",
        "label": "positive",
        "count": 100,
    }


@pytest.mark.parametrize("count", [1, 3, 59])
def test_too_few_rows(tmp_path, count):
    facts = refused(put(tmp_path, as_csv([*reviews(count), *reviews(count)])), "data-too-few")
    assert (facts["rows"], facts["distinct"], facts["needed"]) == (2 * count, count, 60)


def test_a_device_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe", "data-no-table")


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = put(tmp_path, as_csv(reviews()))
    original = keepings.Keeper.add

    def meddling(self, row):
        if row.number == 1:
            os.utime(path, (1, 1))
        original(self, row)

    monkeypatch.setattr(keepings.Keeper, "add", meddling)
    assert refused(path, "data-changed")


# size


def test_five_gigabytes_of_nothing_are_refused_at_once(tmp_path):
    path = tmp_path / "data.csv"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    assert refused(path, "data-format")["found"] == "binary"


def test_five_gigabytes_behind_a_header_cost_little_memory(tmp_path):
    path = put(tmp_path, "text,label\n")
    with path.open("r+b") as file:
        file.truncate(5 << 30)
    tracemalloc.start()
    assert refused(path, "data-format")["found"] == "binary"
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_only_a_sample_is_kept_in_memory(tmp_path):
    path = tmp_path / "data.csv"
    with path.open("w") as file:
        file.write("text,label\n")
        file.writelines(f"{'x' * 400} {n},{n % 2}\n" for n in range(20_000))
    tracemalloc.start()
    found = taken(path, limit=100)
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()
    assert (found.total, len(found.rows)) == (20_000, 100)
    choosing, judged = split(found)
    assert len(choosing) > 10 and len(judged) > 40  # a sample by hash must not lie on one side


def test_rows_in_memory_are_bounded_by_their_size_too(tmp_path, monkeypatch):
    monkeypatch.setattr(keepings, "MOST_HELD", 200_000)
    rows = [{"text": f"{n} " + "x" * (500 + 37 * n % 900)} for n in range(300)]
    one = taken(put(tmp_path, as_csv(rows)))
    other = taken(put(tmp_path, as_csv(rows[::-1]), "other.csv"))
    assert 60 <= len(one.rows) < 200
    assert [row.key for row in one.rows] == [row.key for row in other.rows]


# properties

ROWS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(LABELS)),
    min_size=70,
    max_size=120,
    unique_by=lambda row: row[0],
)
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOW
@given(rows=ROWS, seed=st.integers(0, 99), limit=st.integers(60, 200))
def test_the_order_of_a_file_changes_nothing(tmp_path, rows, seed, limit):
    made = [{"text": f"t{text}", "label": label} for text, label in rows]
    mixed = [made[place] for place in np.random.default_rng(seed).permutation(len(made))]
    if len({row["label"] for row in made}) < 2:
        return
    try:
        one = taken(put(tmp_path, as_csv(made)), limit=limit)
    except DataRefused as refusal:  # the sample may hold one class alone
        assert refusal.code == "data-one-class"
        return
    other = taken(put(tmp_path, as_csv(mixed), "mixed.csv"), limit=limit)
    assert [(row.key, row.label) for row in one.rows] == [(row.key, row.label) for row in other.rows]
    assert [[row.key for row in side] for side in split(one)] == [
        [row.key for row in side] for side in split(other)
    ]


@SLOW
@given(rows=ROWS, more=ROWS)
def test_a_row_stays_on_its_side_in_any_file(tmp_path, rows, more):
    made = [{"text": f"t{text}"} for text, _ in rows]
    longer = [*made, *({"text": f"u{text}"} for text, _ in more)]
    short = split(taken(put(tmp_path, as_csv(made))))
    long = split(taken(put(tmp_path, as_csv(longer), "longer.csv")))
    for one, other in zip(short, long, strict=True):
        assert {row.key for row in one} <= {row.key for row in other}


@SLOW
@given(
    content=st.binary(max_size=300),
    name=st.sampled_from(["data.csv", "data.jsonl", "data.npz", "data.zip", "x"]),
)
def test_any_bytes_are_rows_or_a_named_refusal(tmp_path, content, name):
    for task, field in (("text-classification", "text"), ("tensors", "rows"), ("object-detection", "image")):
        with pytest.raises(DataRefused) as caught:
            read(put(tmp_path, content, name), task, field=field)
        assert caught.value.code.startswith("data-")


@SLOW
@given(
    start=st.sampled_from(
        [b"PK\x03\x04", b"\xff\xfe", b"\xef\xbb\xbf", b"text,label\n", b'{"text": "a", "label": ', b'"']
    ),
    content=st.binary(max_size=200),
)
def test_bytes_that_begin_well_too(tmp_path, start, content):
    with pytest.raises(DataRefused):
        taken(put(tmp_path, start + content, "upload"))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)
NAMES = st.sampled_from(["text", "label", "rows", "inputs", "image", "audio", "source", "sentences"])
TASKS = [
    "token-classification",
    "tensors",
    "image-segmentation",
    "sentence-similarity",
    "tabular-regression",
    "tabular-classification",
    "voice-activity-detection",
    "image-classification",
    "text-to-speech",
]


@SLOW
@given(cells=st.lists(st.dictionaries(NAMES, VALUES), max_size=4), task=st.sampled_from(TASKS))
def test_any_objects_are_rows_or_a_named_refusal(tmp_path, cells, task):
    with pytest.raises(DataRefused):
        read(put(tmp_path, as_jsonl(cells), "data.jsonl"), task, field="rows", labels=["a", "b"])
