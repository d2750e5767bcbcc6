"""The lexicon of a Chinese voice: syllables, small tables of every kind, and tables that are none."""

import json
import re
from pathlib import Path

import pytest

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, lexicon_zh
from deployer.server.text.lexicon import Lexicon
from deployer.spec import silent
from tests.shelf_files import archive_member

SYLLABLES = {
    "zhōng": "ꭧʊ→ŋ",
    "guó": "kwo↗",
    "nǐ": "ni↓",
    "hào": "xau↘",
    "ma": "ma",
    "shì": "ʂɨ↘",
    "cì": "ʦʰɨ↘",
    "rì": "ɻɨ↘",
    "qù": "ʨʰy↘",
    "xué": "ɕɥe↗",
    "jūn": "ʨy→n",
    "lǜ": "ly↘",
    "lüè": "lɥe↘",
    "nǚ": "ny↓",
    "yuán": "ɥɛ↗n",
    "yún": "y↗n",
    "yī": "i→",
    "yǒu": "jou↓",
    "yīng": "i→ŋ",
    "yòng": "jʊ↘ŋ",
    "wǒ": "wo↓",
    "wèi": "wei↘",
    "wēng": "wə→ŋ",
    "wú": "u↗",
    "liú": "ljou↗",
    "duì": "twei↘",
    "lún": "lwə↗n",
    "bō": "pwo→",
    "ér": "ɚ↗",
    "ń": "n↗",
    "ē": "ɤ→",
}
TABLES = {
    "words": "中国 10 ns\n银行 5 n\n行 3 v\n",
    "phrases": json.dumps({"银行": [["yín"], ["háng"]], "怪声": [["guài"], ["kei?"]]}),
    "characters": json.dumps({"20013": "zhōng,zhòng", "22269": "guó", "34892": "xíng,háng", "38134": "yín"}),
    "start": "from __future__ import unicode_literals\nP={'B': -0.3, 'E': -3.14e+100, 'S': -1.5}",
    "chain": "P={'B': {'E': -0.5}, 'E': {'B': -0.6, 'S': -0.8}, 'M': {'E': -0.3}, 'S': {'B': -0.7}}",
    "emissions": "P={'B': {'\\u674e': -1.0}, 'E': {'\\u56db': -1.0}, 'M': {}, 'S': {}}",
    "english": json.dumps(
        {"OK": "ˌOkˈA", "close": {"DEFAULT": "klˈOz", "ADJ": "klˈOs"}, "odd": {"NOUN": None}}
    ),
}


def files(folder: Path, **changed: str) -> dict[str, Path]:
    paths = {}
    for name, text in {**TABLES, **changed}.items():
        paths[name] = folder / f"{name}.txt"
        paths[name].write_text(text, "utf-8")
    return paths


@pytest.mark.parametrize("pinyin", SYLLABLES)
def test_syllables_become_sounds(pinyin: str) -> None:
    assert lexicon_zh.sound(pinyin) == SYLLABLES[pinyin]


@pytest.mark.parametrize("pinyin", ["", "x", "abc", "zhzh", "q1", "好", "ii"])
def test_what_is_no_syllable_is_refused(pinyin: str) -> None:
    with pytest.raises(ValueError, match="syllable"):
        lexicon_zh.sound(pinyin)


def test_small_tables(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    BUILDERS["lexicon-zh"](
        files(tmp_path),
        tmp_path / "out",
        {"path": "deep/words.bin"},
        lambda done, total, note="": told.append((done, total)),
    )
    lexicon = Lexicon.open(tmp_path / "out" / "deep" / "words.bin")
    assert told[-1][0] == told[-1][1]
    assert lexicon.cut("中国银行李四") == ["中国", "银行", "李四"]
    assert lexicon.read("中国") == ("ꭧʊ→ŋkwo↗", "")
    assert lexicon.read("银行") == ("i↗nxa↗ŋ", "")
    assert lexicon.read("行") == ("ɕi↗ŋ", "")
    assert lexicon.read("李四") == ("", "李四")
    assert lexicon.sounds("怪声") == ""
    assert (lexicon.sounds("OK"), lexicon.sounds("close"), lexicon.sounds("odd")) == ("ˌOkˈA", "klˈOz", "")


def test_english_and_the_model_of_words_may_be_missing(tmp_path: Path) -> None:
    inputs = {
        name: path for name, path in files(tmp_path).items() if name in ("words", "phrases", "characters")
    }
    lexicon_zh.convert(inputs, tmp_path / "out", {}, silent)
    lexicon = Lexicon.open(tmp_path / "out" / "lexicon.bin")
    assert lexicon.cut("中国李四") == ["中国", "李", "四"]
    assert lexicon.sounds("OK") == ""


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("words", "中国\n", "line 1"),
        ("words", "中国 many\n", "line 1"),
        ("phrases", "{", "JSON"),
        ("phrases", "[1]", "JSON"),
        ("characters", '{"x": "y"}', "code point"),
        ("english", "3", "JSON"),
        ("emissions", "P=__import__('os').getcwd()", "table"),
        ("start", "Q=1", "table"),
        ("chain", "P={'B': 1}", "table"),
        ("phrases", '{"好": 1}', "JSON"),
    ],
)
def test_tables_of_another_kind_are_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(ConversionFailed, match=why) as refused:
        lexicon_zh.convert(files(tmp_path, **{name: text}), tmp_path / "out", {}, silent)
    assert re.search(r"[\u4e00-\u9fff]", str(refused.value.facts["why_zh"]))
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_text_and_unknown_options_are_refused(tmp_path: Path) -> None:
    inputs = files(tmp_path)
    with pytest.raises(ConversionFailed, match="colour"):
        lexicon_zh.convert(inputs, tmp_path / "out", {"colour": 1}, silent)
    inputs["words"].write_bytes(b"\xff\xfe")
    with pytest.raises(ConversionFailed, match="UTF-8"):
        lexicon_zh.convert(inputs, tmp_path / "out", {}, silent)


@pytest.mark.network
def test_every_real_syllable_has_sounds() -> None:
    """But for one character whose only reading is from a dialect."""
    table = json.loads(archive_member("tts-kokoro-82m-int8", "pypinyin/pinyin_dict.json").read_text("utf-8"))
    phrases = json.loads(
        archive_member("tts-kokoro-82m-int8", "pypinyin/phrases_dict.json").read_text("utf-8")
    )
    found = {syllable for said in table.values() for syllable in said.split(",")}
    found |= {choices[0] for said in phrases.values() for choices in said}
    silent_ones = set()
    for syllable in found:
        try:
            assert lexicon_zh.sound(syllable)
        except ValueError:
            silent_ones.add(syllable)
    assert len(found) > 1500
    assert silent_ones <= {"wòng"}
