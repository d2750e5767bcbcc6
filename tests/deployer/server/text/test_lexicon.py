"""A lexicon: cutting by probability, guessing, reading by parts, and files that are not whole."""

import itertools
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.errors import BadModel
from deployer.server.text.lexicon import MAGIC, Entry, Guesses, Lexicon, pack
from tests.shelf_files import model_dir

ENTRIES = [
    Entry("研究", 30, ""),
    Entry("研究生", 5, ""),
    Entry("生命", 20, ""),
    Entry("生", 2, "shēng "),
    Entry("命", 2, "mìng "),
    Entry("研", 1, "yán "),
    Entry("究", 1, "jiū "),
    Entry("起源", 9, ""),
    Entry("起", 1, "qǐ "),
    Entry("重要", 0, "zhòng yào "),
    Entry("重", 1, "chóng "),
    Entry("要", 1, "yào "),
    Entry("hello", 0, "həlō "),
]
LEXICON = Lexicon(pack(ENTRIES))


@pytest.fixture(scope="module")
def real() -> Lexicon:
    return Lexicon.open(model_dir("tts-kokoro-82m-int8") / "lexicon.bin")


def test_words_are_cut_by_the_greatest_probability() -> None:
    assert LEXICON.cut("研究生命起源") == ["研究", "生命", "起源"]
    assert LEXICON.cut("研究生") == ["研究生"]
    assert LEXICON.cut("新起源") == ["新", "起源"]
    assert LEXICON.cut("重要") == ["重", "要"]  # a frequency of 0 keeps it out
    assert LEXICON.cut("") == []


def test_words_are_read_by_their_longest_parts() -> None:
    assert LEXICON.read("研究生") == ("yán jiū shēng ", "")
    assert LEXICON.read("重要重") == ("zhòng yào chóng ", "")
    assert LEXICON.read("起x源") == ("qǐ ", "x源")
    assert LEXICON.sounds("hello") == "həlō "
    assert (
        LEXICON.sounds("hell") == LEXICON.sounds("zz") == LEXICON.sounds("") == LEXICON.sounds("研究") == ""
    )


@given(st.text("研究生命起源重要新", max_size=9))
def test_no_other_cut_is_likelier(run: str) -> None:
    counts = {entry.word: entry.frequency for entry in ENTRIES if entry.frequency}
    total = sum(counts.values())

    def chance(words: list[str]) -> float:
        """Its logarithm; a character that is not listed counts once, unless longer words begin there."""
        return sum(math.log(counts.get(word) or 1) - math.log(total) for word in words)

    best = -math.inf
    for cuts in itertools.product([False, True], repeat=max(len(run) - 1, 0)):
        words, word = [], ""
        for sign, cut in zip(run, [*cuts, True], strict=False):
            word += sign
            if cut:
                words.append(word)
                word = ""
        starts = list(itertools.accumulate([0, *map(len, words)]))
        usable = all(
            word in counts or (len(word) == 1 and not any(run.startswith(longer, start) for longer in counts))
            for word, start in zip(words, starts, strict=False)
        )
        if usable:
            best = max(best, chance(words))
    found = LEXICON.cut(run)
    assert "".join(found) == run
    if run:
        assert chance(found) == pytest.approx(best)


def test_names_that_are_not_listed_are_guessed(real: Lexicon) -> None:
    """The examples that everybody gives for jieba; the last two words are in no list."""
    assert real.cut("我来到北京清华大学") == ["我", "来到", "北京", "清华大学"]
    assert real.cut("他来到了网易杭研大厦") == ["他", "来到", "了", "网易", "杭研", "大厦"]
    assert real.cut("小明硕士毕业于中国科学院计算所") == [
        "小明",
        "硕士",
        "毕业",
        "于",
        "中国科学院",
        "计算所",
    ]


def test_the_real_one_opens_at_once_and_cuts_quickly(real: Lexicon) -> None:
    path = model_dir("tts-kokoro-82m-int8") / "lexicon.bin"
    assert path.stat().st_size < 15_000_000
    began = time.process_time()
    Lexicon.open(path)
    assert time.process_time() - began < 0.3
    text = "人工智能正在改变小微企业的经营方式" * 250
    began = time.process_time()
    assert "".join(real.cut(text)) == text
    assert time.process_time() - began < 2.0


@given(st.text(st.characters(min_codepoint=0x3400, max_codepoint=0x9FFF), max_size=40))
def test_any_ideographs_are_cut_whole_and_read(real: Lexicon, run: str) -> None:
    words = real.cut(run)
    assert "".join(words) == run
    for word in words:
        sounds, silent = real.read(word)
        assert sounds or silent


def test_ties_and_unknown_signs_of_the_model() -> None:
    emissions = {"B": {"甲": -1.0}, "E": {"乙": -1.0}, "M": {}, "S": {"甲": -3.0, "乙": -3.0}}
    chain = {
        "B": {"E": -0.5, "M": -1.0},
        "E": {"B": -0.7, "S": -0.7},
        "M": {"E": -0.5},
        "S": {"B": -0.7, "S": -0.7},
    }
    guesses = Guesses({"B": -0.3, "S": -1.5}, chain, emissions)
    lexicon = Lexicon(pack([Entry("词语", 1, "")], guesses))
    assert lexicon.cut("甲乙词语甲乙甲") == ["甲乙", "词语", "甲乙", "甲"]
    assert "".join(lexicon.cut("丙丁戊")) == "丙丁戊"


def test_plain_text_is_packed(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text("".join(f"{e.word}\t{e.frequency}\t{e.sounds}\n" for e in ENTRIES) + "\n", "utf-8")
    lexicon = Lexicon.open(path)
    assert lexicon.cut("研究生命起源") == ["研究", "生命", "起源"]
    assert lexicon.sounds("hello") == "həlō "
    for line in ("word", "word\t1", "word\tmany\tx", "\t1\tx"):
        path.write_text(f"a\t1\tb\n{line}\n", "utf-8")
        with pytest.raises(BadModel, match="line 2"):
            Lexicon.open(path)
    path.write_text("\n")
    with pytest.raises(BadModel, match="no words"):
        Lexicon.open(path)


def test_files_that_are_cut_or_bent_are_refused(tmp_path: Path) -> None:
    whole = pack(ENTRIES)
    for data in (
        whole[:-1],
        whole[:40],
        whole[:16],
        MAGIC,
        whole + b"x",
        whole[:20] + b"\xff" * 40 + whole[60:],
    ):
        (tmp_path / "lexicon.bin").write_bytes(data)
        with pytest.raises(BadModel):
            Lexicon.open(tmp_path / "lexicon.bin")


def test_the_same_words_give_the_same_bytes() -> None:
    assert pack(ENTRIES) == pack(reversed(ENTRIES))
    assert pack([*ENTRIES, Entry("生", 7, "x")]) != pack(ENTRIES)
