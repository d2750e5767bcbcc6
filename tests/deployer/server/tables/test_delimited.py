"""CSV of spreadsheets and of strangers."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.errors import BadInput
from deployer.server.tables.delimited import CHARSETS, read_csv

names = st.lists(
    st.text("abc城 市\"',;", min_size=1, max_size=6).filter(lambda name: name.strip() == name),
    min_size=1,
    max_size=5,
    unique=True,
)


def test_rows_by_the_names_of_the_header() -> None:
    data = b'age,"city, home"\r\n41,Beijing\r\n\r\n,"say ""hi""\nthere"\r\n'
    assert read_csv(data) == [
        {"age": "41", "city, home": "Beijing"},
        {"age": None, "city, home": 'say "hi"\nthere'},
    ]


@pytest.mark.parametrize("parting", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("charset", "codec"), [("", "utf-8"), ("", "utf-8-sig"), ("", "utf-16"), ("GBK", "gbk"), ("gb18030",) * 2]
)
def test_spreadsheets_of_all_countries(parting: str, charset: str, codec: str) -> None:
    data = f"年龄{parting}城市\n41{parting}北京\n".encode(codec)
    assert read_csv(data, charset=charset) == [{"年龄": "41", "城市": "北京"}]


@pytest.mark.parametrize(
    ("data", "charset", "said"),
    [
        ("年龄\n1".encode("gbk"), "", "is not UTF-8"),
        (b"a\n1", "ebcdic", "unknown charset"),
        (b"a\n1", "base64", "unknown charset"),
        (b"", "", "no row"),
        (b"\n\n", "", "no row"),
        (b"a,b\n", "", "no row"),
        (b"a,b\n1,2\n1,2,3\n", "", "has 3 cells in line 3"),
        (b"a,b\n1\n", "", "has 1 cells in line 2"),
        (b"a,a\n1,2\n", "", "twice"),
        (b"a,\n1,2\n", "", "empty"),
        (b'a\n"x"y\n', "", "not CSV in line 2"),
        (b'a\n"x\n', "", "not CSV"),
        (b"a\n" + b"x" * 200_000, "", "not CSV"),
        (b"a\n" + b"1\n" * 10_001, "", "more than 10000 rows"),
        (b",".join(b"c%d" % n for n in range(10_001)) + b"\n1", "", "has 10001 columns"),
    ],
)
def test_what_is_refused(data: bytes, charset: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_csv(data, charset=charset)
    assert said in refused.value.why.en
    assert refused.value.why.zh
    assert refused.value.where.startswith("rows")


@given(names, st.data())
@settings(deadline=None)
def test_what_was_written_is_read(header: list[str], data: st.DataObject) -> None:
    cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
    rows = data.draw(
        st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), min_size=1, max_size=4)
    )
    if not all(any(row) for row in rows) or len(header) == 1:
        header, rows = [*header, "last"], [[*row, "end"] for row in rows]
    made = io.StringIO()
    csv.writer(made, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    found = read_csv(made.getvalue().encode())
    assert found == [dict(zip(header, [cell or None for cell in row], strict=True)) for row in rows]


@given(st.binary(max_size=300), st.sampled_from(["", *CHARSETS, "nonsense"]))
@settings(deadline=None)
def test_any_bytes_are_rows_or_refused(data: bytes, charset: str) -> None:
    try:
        rows = read_csv(data, charset=charset)
    except BadInput as refused:
        assert refused.why.en and refused.why.zh
    else:
        assert rows and all(row.keys() == rows[0].keys() for row in rows)
