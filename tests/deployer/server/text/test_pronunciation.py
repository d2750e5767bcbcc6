"""Texts to symbols: what the reference g2p gives for Chinese, and what it leaves open, by our rules.

The symbols in said_zh.tsv are what misaki 0.9.4 (its first Chinese path) made of these sentences, with spaces
in a row joined and without signs that the voices do not know.
"""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.text.lexicon import Lexicon
from deployer.server.text.pronunciation import Pronouncer, split, tidy
from tests.shelf_files import model_dir

SAID = [line.split("\t") for line in Path(__file__).with_name("said_zh.tsv").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def reader() -> Pronouncer:
    folder = model_dir("tts-kokoro-82m-int8")
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))["vocab"]
    return Pronouncer(Lexicon.open(folder / "lexicon.bin"), vocab, "zh")


@pytest.mark.parametrize(("text", "symbols"), SAID)
def test_chinese_is_said_as_the_voices_learnt_it(reader: Pronouncer, text: str, symbols: str) -> None:
    spoken = reader.speak(text)
    assert " ".join(spoken.sentences) == symbols
    assert spoken.silent == ""


def said(reader: Pronouncer, text: str) -> str:
    return " ".join(reader.speak(text).sentences)


def test_english_words_are_looked_up_taken_apart_or_spelled(reader: Pronouncer) -> None:
    assert said(reader, "Hello, don't worry. it's OK") == "həlˈO, dˈOnt wˈɜɹi. ɪts ˌOkˈA"
    assert said(reader, "Wi-Fi and GitHub") == "wˈIfˌI ænd ɡˈɪt hˈʌb"
    assert said(reader, "API") == said(reader, "ＡＰＩ") == "ˈApˈiˈI"
    assert said(reader, "NASA的AI") == "nˈæsə tɤ ˈAˌI"
    assert said(reader, "用Python写") == "jʊ↘ŋ pˈIθˌɑn ɕje↓"
    assert said(reader, "xqz") == "ˈɛkskjˈuzˈi"


def test_letters_without_sounds_are_left_out_and_told(reader: Pronouncer) -> None:
    assert reader.speak("Привет").sentences == []
    spoken = reader.speak("东京タワー、서울，Привет")
    assert spoken.sentences == ["tʊ→ŋʨi→ŋ, ,"]
    assert spoken.silent == "タワー서울Привет"


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "……！？", "😀🎉", "()《》", "---", "→↓ʰˈ", "\u200b\ufeff\x00"]
)
def test_signs_alone_are_nothing_to_say(reader: Pronouncer, text: str) -> None:
    assert reader.speak(text).sentences == []


def test_signs_of_the_voice_itself_cannot_be_smuggled_in(reader: Pronouncer) -> None:
    assert said(reader, "走→左↓右") == said(reader, "走 左 右")


def test_other_forms_of_digits_and_letters_are_made_plain(reader: Pronouncer) -> None:
    assert tidy("１２３％ ＡＢ ٣ ①\r\n②\r½杯\u2028x⁵\u00ad") == "123% AB 3 1\n2\n 1/2 杯\nx "
    assert said(reader, "第１２名") == said(reader, "第12名") == said(reader, "第十二名")
    assert said(reader, "㎏") == said(reader, "kg")


def test_sentences_end_where_people_end_them() -> None:
    assert split("好。“好！”他说：真的？？是3.5寸；A.B 网站a.com开\n完.") == [
        "好。",
        "“好！”",
        "他说：真的？？",
        "是3.5寸；",
        "A.B 网站a.com开\n",
        "完.",
    ]
    assert split("end. Next.下一句.3楼") == ["end.", " Next.", "下一句.", "3楼"]


@given(st.text(max_size=300))
def test_any_text_gives_symbols_of_the_voice_or_nothing(reader: Pronouncer, text: str) -> None:
    spoken = reader.speak(text)
    assert all(set(sentence) <= reader.symbols and sentence.strip() for sentence in spoken.sentences)
    assert all("  " not in sentence for sentence in spoken.sentences)
    assert all(letter.isalpha() for letter in spoken.silent)


@given(
    st.lists(
        st.sampled_from(["中文", "English", "12.5%", "，", "。", " ", "\n", "😀", "ß", "API", "《", "-"])
    )
)
def test_sentences_are_said_one_by_one(reader: Pronouncer, parts: list[str]) -> None:
    text = "".join(parts)
    alone = [sentence for one in split(tidy(text)) for sentence in reader.speak(one).sentences]
    assert reader.speak(text).sentences == alone


@pytest.mark.parametrize("part", ["好", "a", "1", ".", "’", "a-", "Ab", "。", "-", "\u0301", "龘"])
def test_long_texts_take_no_time(reader: Pronouncer, part: str) -> None:
    began = time.process_time()
    reader.speak(part * (4096 // len(part)))
    assert time.process_time() - began < 2.0
