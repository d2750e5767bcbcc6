"""Other ways to search the same texts, each with an index of its own that is kept for the next run.

They rank and return the first 24 and count nothing; ours counts every facet as well.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from catalog import search_words
from tests.benchmarks.serving.peers import Peer, Unavailable
from tests.benchmarks.serving.wires import JSON
from tests.shop import CACHE

FIRST = 24
_TEXTS = (
    "SELECT rowid, title_zh || char(10) || title_en || char(10) || name, "
    "summary_zh || char(10) || summary_en FROM listing"
)
Search = Callable[[str], float]
"""Milliseconds that a question took."""


def like(database: Path) -> Search:
    """Every word in a column, as the shop searched before it had an index."""
    connection = sqlite3.connect(database)
    columns = ("name", "title_zh", "title_en", "summary_zh", "summary_en")
    anywhere = "(" + " OR ".join(f"{column} LIKE ?" for column in columns) + ")"

    def search(q: str) -> float:
        words = q.split()
        where = " AND ".join([anywhere] * len(words)) or "1"
        values = [f"%{word}%" for word in words for _ in columns]
        sql = f"SELECT name FROM listing WHERE {where} ORDER BY name LIMIT {FIRST}"
        return _timed(lambda: connection.execute(sql, values).fetchall())

    return search


def fts5(database: Path, kind: str) -> Search:
    """FTS5 sorted by bm25, over our tokens or over its own trigrams."""
    path = _kept(database, kind, lambda fresh: _make_fts5(database, fresh, kind))
    connection = sqlite3.connect(path)
    sql = f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 4, 1) LIMIT {FIRST}"

    def search(q: str) -> float:
        parts = q.split() if kind == "trigram" else _tokens(q)
        asked = " AND ".join('"' + part.replace('"', '""') + '"' for part in parts)
        return _timed(lambda: connection.execute(sql, (asked,)).fetchall()) if asked else 0.0

    return search


def _make_fts5(database: Path, fresh: Path, kind: str) -> None:
    tokenize = "trigram" if kind == "trigram" else "unicode61 remove_diacritics 0"
    connection = sqlite3.connect(fresh)
    connection.execute(
        f"CREATE VIRTUAL TABLE words USING fts5(title, body, content='', tokenize='{tokenize}')"
    )
    rows = _texts(database)
    if kind != "trigram":
        rows = ((id, _joined(title), _joined(body)) for id, title, body in rows)
    connection.executemany("INSERT INTO words(rowid, title, body) VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()


TANTIVY = Peer("tantivy", ("tantivy==0.27.0",), JSON)
_TANTIVY = """
import json, sys, time
from pathlib import Path
import tantivy
folder, texts = Path(sys.argv[1]), sys.argv[2]
builder = tantivy.SchemaBuilder()
for name in ("title", "body"):
    builder.add_text_field(name, stored=False, tokenizer_name="whitespace")
builder.add_integer_field("id", stored=True)
if not (folder / "meta.json").exists():
    folder.mkdir(parents=True, exist_ok=True)
    index = tantivy.Index(builder.build(), path=str(folder))
    writer = index.writer(heap_size=256_000_000)
    for line in sys.stdin:
        if line == "\\n":
            break
        id, title, body = json.loads(line)
        writer.add_document(tantivy.Document(id=id, title=[title], body=[body]))
    writer.commit()
    writer.wait_merging_threads()
else:
    index = tantivy.Index(builder.build(), path=str(folder))
index.reload()
searcher = index.searcher()
print("ready", flush=True)
for line in sys.stdin:
    q = json.loads(line)
    began = time.perf_counter()
    parsed = index.parse_query(q, ["title", "body"], field_boosts={"title": 4.0}, conjunction_by_default=True)
    hits = searcher.search(parsed, int(texts)).hits
    [searcher.doc(address) for _, address in hits]
    print((time.perf_counter() - began) * 1000, flush=True)
"""


def tantivy(database: Path) -> Search:
    """Tantivy's BM25 over our tokens, in a process and an environment of its own; raises Unavailable."""
    import json

    TANTIVY.install()
    folder = CACHE / f"{database.stem}-tantivy"
    made = (folder / "meta.json").exists()
    python = TANTIVY.folder / "bin" / "python"
    child = subprocess.Popen(
        [python, "-c", _TANTIVY, str(folder), str(FIRST)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    if not made:
        print("tantivy reads the listings", file=sys.stderr, flush=True)
        for id, title, body in _texts(database):
            child.stdin.write(json.dumps([id, _joined(title), _joined(body)]) + "\n")
        child.stdin.write("\n")
    child.stdin.flush()
    if child.stdout.readline().strip() != "ready":
        raise Unavailable("tantivy did not start")

    def search(q: str) -> float:
        assert child.stdin is not None and child.stdout is not None
        asked = " ".join(f'"{token}"' for token in _tokens(q))
        if not asked:
            return 0.0
        child.stdin.write(json.dumps(asked) + "\n")
        child.stdin.flush()
        return float(child.stdout.readline())

    return search


def _texts(database: Path) -> Iterator[tuple[int, str, str]]:
    yield from sqlite3.connect(database).execute(_TEXTS)


def _joined(text: str) -> str:
    return " ".join(sorted(search_words.tokens(text)))


def _tokens(q: str) -> list[str]:
    """The tokens that ours asks for, without completions, meanings and corrections."""
    return [
        token
        for chunk in search_words.asked(q, 12)
        for run in chunk.runs
        for token in (search_words.pairs(run.text) if run.unspaced else [run.text])
    ]


def _kept(database: Path, kind: str, make: Callable[[Path], None]) -> Path:
    path = CACHE / f"{database.stem}-{kind}.db"
    if not path.exists():
        print(f"FTS5 ({kind}) reads the listings", file=sys.stderr, flush=True)
        fresh = path.with_suffix(".making")
        fresh.unlink(missing_ok=True)
        make(fresh)
        fresh.rename(path)
    return path


def _timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return (time.perf_counter() - began) * 1000
