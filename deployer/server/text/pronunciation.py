"""A text as the symbols that a voice was trained on: sentences, words of a lexicon, marks and numbers.

Scripts without spaces are cut into words by the lexicon. Words of other scripts are looked up whole, then in
the parts that hyphens and capitals show (GitHub), and else spelled. Digits are written out by the reader of
the model's language. Marks become the few that the voice knows, by which it pauses. Letters without sounds
are left out and told; any other sign without a reading counts as a space.
"""

import re
import unicodedata
from collections.abc import Callable, Collection
from typing import NamedTuple

from deployer.server.text.lexicon import Lexicon
from deployer.server.text.numerals_zh import spell

NUMERALS: dict[str, Callable[[str], str]] = {"zh": spell}

_MARKS = {
    **dict.fromkeys("，、,", ", "),
    **dict.fromkeys("。．.", ". "),
    **{"！": "! ", "？": "? ", "：": ": ", "；": "; ", "!": "! ", "?": "? ", ":": ": ", ";": "; "},
    **dict.fromkeys("«《「『【〈〔〖", " “"),
    **dict.fromkeys("»》」』】〉〕〗", "” "),
    **{"（": " (", "）": ") "},
    **{mark: mark for mark in '—…"()“”'},
}
_NO_GAP = ' ;:,.!?—…"()“”'  # behind these a word needs no space
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) not in "！（），．：；？"}
_ENDS = re.compile(
    r"(?:[\n。！？!?；;]|\.(?=[\s\u0080-\U0010ffff]|$)|(?<=[\u0080-\U0010ffff])\.(?!\.))+[\"”’」』】）)]*"
)
# Kana, ideographs and their extensions, Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "々-〇\u3040-ヿ\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_LETTER = rf"(?:[^\W\d_{_UNSPACED}]|[\u0300-\u036f\u0900-\u0dff])"
_RUNS = re.compile(rf"([{_UNSPACED}]+)|({_LETTER}+(?:['’-]{_LETTER}+)*)|(.)", re.DOTALL)
_PARTS = re.compile(r"[A-Z]{2,}(?=s\b)|[A-Z]+(?![a-z])|'?[A-Z]?[^\WA-Z]+|[^\W]")


class Spoken(NamedTuple):
    """The symbols of each sentence that has any sound, and the letters that were left out, each once."""

    sentences: list[str]
    silent: str


class Pronouncer:
    """Texts to symbols, by a lexicon and the symbols that a voice has."""

    def __init__(self, lexicon: Lexicon, symbols: Collection[str], numerals: str = "") -> None:
        self.lexicon = lexicon
        self.symbols = frozenset(symbols)
        self.write_out = NUMERALS[numerals] if numerals else str

    def speak(self, text: str) -> Spoken:
        """The symbols of a text, sentence by sentence."""
        sentences, silent = [], ""
        for sentence in split(tidy(text)):
            said, left_out = self._sentence(self.write_out(sentence))
            silent += left_out
            if said:
                sentences.append(said)
        return Spoken(sentences, "".join(dict.fromkeys(silent)))

    def _sentence(self, sentence: str) -> tuple[str, str]:
        """The symbols of a sentence, none when nothing in it is heard, and the letters left out."""
        said, silent, heard = "", "", False
        for run in _RUNS.finditer(sentence):
            unspaced, word, sign = run.groups()
            if sign:
                said += _MARKS.get(sign, " ")
                continue
            sounds, left_out = self._unspaced(unspaced) if unspaced else self._word(word.replace("’", "'"))
            silent += left_out
            if sounds := self._known(sounds).strip():
                heard = True
                said += sounds if not said or said[-1] in _NO_GAP else f" {sounds}"
        return (" ".join(self._known(said).split()) if heard else ""), silent

    def _known(self, symbols: str) -> str:
        return "".join(symbol for symbol in symbols if symbol in self.symbols)

    def _unspaced(self, run: str) -> tuple[str, str]:
        return _together([self.lexicon.read(word) for word in self.lexicon.cut(run)])

    def _word(self, word: str) -> tuple[str, str]:
        """A word as it is listed, else by its parts, else spelled."""
        if sounds := self._listed(word):
            return sounds, ""
        parts = _PARTS.findall(word)
        if len(parts) < 2:
            return self._spelled(word)
        return _together([(sounds, "") if (sounds := self._listed(p)) else self._spelled(p) for p in parts])

    def _listed(self, word: str) -> str:
        """The sounds of a word; up to three capitals are a row of letters unless they are listed so."""
        forms = [word]
        if len(word) > 3 or not word.isupper():
            forms += [word.lower(), word.capitalize()]
        return next(filter(None, map(self.lexicon.sounds, forms)), "")

    def _spelled(self, word: str) -> tuple[str, str]:
        sounds, silent = "", ""
        for letter in word:
            heard = self.lexicon.sounds(letter.upper()) or self.lexicon.sounds(letter)
            sounds += heard
            silent += letter if letter.isalpha() and not heard else ""
        return sounds, silent


def tidy(text: str) -> str:
    """The text in composed letters, with plain digits, and without signs that have no form."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_WIDE)
    return "".join(map(_plain, unicodedata.normalize("NFC", text)))


def split(text: str) -> list[str]:
    """The sentences of a tidy text; a full stop inside of a number or a name ends none."""
    found, start = [], 0
    for end in _ENDS.finditer(text):
        found.append(text[start : end.end()])
        start = end.end()
    return [sentence for sentence in [*found, text[start:]] if sentence.strip()]


def _together(parts: list[tuple[str, str]]) -> tuple[str, str]:
    """Sounds with a space between, and all letters left out."""
    return " ".join(sounds for sounds, _ in parts if sounds), "".join(silent for _, silent in parts)


def _plain(sign: str) -> str:
    """A sign as the rules know it: any digits as 0 to 9, line ends kept, what controls or is unknown gone."""
    if sign.isascii():
        return sign if sign.isprintable() or sign == "\n" else " "
    kind = unicodedata.category(sign)
    if kind == "Nd":
        return str(unicodedata.decimal(sign))
    if kind in ("No", "So") and sign not in "²³":
        if unicodedata.decomposition(sign).startswith("<super>"):
            return " "
        plain = unicodedata.normalize("NFKC", sign)
        return f" {plain} ".replace("\u2044", "/") if "\u2044" in plain else plain
    if kind[0] == "C":
        return ""
    return {"Zl": "\n", "Zp": "\n", "Zs": " "}.get(kind, sign)
