"""Makes the lexicon of a Chinese voice: words with their frequency, and sounds for words and characters.

Nothing of the packages that the tables come from is run; they are read as data:

- `words`: one `word frequency tag` a line, as jieba's dict.txt
- `phrases`: JSON, {phrase: [[pinyin, …] for each character]}, as pypinyin has it
- `characters`: JSON, {code point: "pinyin,pinyin"}, the most usual first, as pypinyin has it
- `start`, `chain`, `emissions`: `P = {…}` each, the model by which jieba finds words that it does not list
- `english` (may be missing): JSON, {word: sounds, or {part of speech: sounds}}, as misaki has it

Sounds are IPA as Kokoro knows it: affricates are one letter, tones are arrows behind the vowel, the neutral
tone has none. Words for which a phrase of their own would say nothing new have none: the server reads a word
by the longest phrases and characters in it.
"""

import ast
import unicodedata
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.weights import refuse
from deployer.server.text.lexicon import Entry, Guesses, pack
from deployer.spec import Progress

T = TypeVar("T")
DEFAULTS = {"path": "lexicon.bin"}

_TONES = {"\u0304": "→", "\u0301": "↗", "\u030c": "↓", "\u0300": "↘"}  # macron, acute, caron, grave
_INITIALS = {
    **{letter: letter for letter in ("f", "l", "m", "n", "s")},
    **{"b": "p", "p": "pʰ", "d": "t", "t": "tʰ", "g": "k", "k": "kʰ", "h": "x"},
    **{"j": "ʨ", "q": "ʨʰ", "x": "ɕ", "z": "ʦ", "c": "ʦʰ"},
    **{"zh": "ꭧ", "ch": "ꭧʰ", "sh": "ʂ", "r": "ɻ"},
}
# The tone goes where the underscore is.
_FINALS = {
    **{"a": "a_", "ai": "ai_", "an": "a_n", "ang": "a_ŋ", "ao": "au_"},
    **{"e": "ɤ_", "ei": "ei_", "en": "ə_n", "eng": "ə_ŋ", "o": "wo_", "ong": "ʊ_ŋ", "ou": "ou_"},
    **{"i": "i_", "ia": "ja_", "ian": "jɛ_n", "iang": "ja_ŋ", "iao": "jau_", "ie": "je_", "in": "i_n"},
    **{"ing": "i_ŋ", "iong": "jʊ_ŋ", "iou": "jou_"},
    **{"u": "u_", "ua": "wa_", "uai": "wai_", "uan": "wa_n", "uang": "wa_ŋ", "uei": "wei_", "uen": "wə_n"},
    **{"ueng": "wə_ŋ", "uo": "wo_"},
    **{"ü": "y_", "üe": "ɥe_", "üan": "ɥɛ_n", "ün": "y_n"},
}
_WHOLE = {
    **{"er": "ɚ_", "o": "ɔ_", "yo": "wo_", "ê": "ɛ_"},  # yo as the voices were trained with it
    **{"m": "m_", "n": "n_", "ng": "ŋ_", "hm": "hm_", "hng": "hŋ_"},
}
_HISSING = ("z", "c", "s", "zh", "ch", "sh", "r")  # their i is the consonant held on
_SHORT = {"iu": "iou", "ui": "uei", "un": "uen"}


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write the lexicon into `out` under options.path; raises ConversionFailed for tables it cannot read."""
    if unknown := sorted(set(options) - set(DEFAULTS)):
        raise refuse("options", f"unknown options: {unknown}", f"未知的选项：{unknown}")
    entries: dict[str, Entry] = {}
    for word, frequency in _words(inputs["words"]).items():
        entries[word] = Entry(word, frequency, "")
    sounds = _english(inputs["english"]) if "english" in inputs else {}
    sounds |= _characters(inputs["characters"]) | _phrases(inputs["phrases"])
    for word, sound in sounds.items():
        entries[word] = Entry(word, entries[word].frequency if word in entries else 0, sound)
    progress(1, 2)
    data = pack(entries.values(), _guesses(inputs))
    target = out / str(options.get("path", DEFAULTS["path"]))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(data)
    part.replace(target)
    progress(2, 2)


def sound(pinyin: str) -> str:
    """The sounds of one syllable as `zhōng`; ValueError for what is none."""
    plain, tone = _toned(pinyin)
    whole = _WHOLE.get(plain)
    if whole is not None:
        return whole.replace("_", tone)
    initial, final = _parts(plain)
    if final == "i" and initial in _HISSING:
        return f"{_INITIALS[initial]}ɨ{tone}"
    if final not in _FINALS:
        raise ValueError(f"not a syllable of pinyin: {pinyin!r}")
    return _INITIALS.get(initial, "") + _FINALS[final].replace("_", tone)


def _toned(pinyin: str) -> tuple[str, str]:
    """A syllable without its tone mark, and the tone."""
    tone, plain = "", ""
    for sign in unicodedata.normalize("NFD", pinyin):
        if sign in _TONES:
            tone = _TONES[sign]
        else:
            plain += sign
    return unicodedata.normalize("NFC", plain), tone


def _parts(plain: str) -> tuple[str, str]:
    """Initial and full final of a toneless syllable: yu is ü, liu is l and iou, ju is j and ü."""
    if plain.startswith("y"):
        rest = plain[1:]
        if rest.startswith("u"):
            return "", _SHORT.get("ü" + rest[1:], "ü" + rest[1:])
        return "", {"ou": "iou", "i": "i"}.get(rest, rest if rest.startswith("i") else "i" + rest)
    if plain.startswith("w"):
        rest = plain[1:]
        return "", {"ei": "uei", "en": "uen", "u": "u"}.get(rest, "u" + rest)
    initial = plain[:2] if plain[:2] in _INITIALS else plain[:1] if plain[:1] in _INITIALS else ""
    final = plain[len(initial) :]
    if initial in ("j", "q", "x") and final.startswith("u"):
        final = "ü" + final[1:]
    return initial, _SHORT.get(final, final)


def _words(path: Path) -> dict[str, int]:
    found = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        parts = line.split(" ")
        if len(parts) < 2 or not parts[1].isascii() or not parts[1].isdigit():
            raise refuse(path, f"line {number} is not `word frequency`", f"第 {number} 行不是“词 频率”")
        found[parts[0]] = int(parts[1])
    return found


def _characters(path: Path) -> dict[str, str]:
    """The usual sounds of each character."""
    found = {}
    for code, said in _json(path, dict[str, str]).items():
        if not (code.isascii() and code.isdigit() and int(code) < 0x110000):
            raise refuse(path, f"{code!r} is not a code point", f"{code!r} 不是码位")
        found[chr(int(code))] = _spoken([said.split(",")[0]])
    return found


def _phrases(path: Path) -> dict[str, str]:
    """The usual sounds of each phrase."""
    table = _json(path, dict[str, list[list[str]]])
    return {phrase: _spoken([choices[0] for choices in said if choices]) for phrase, said in table.items()}


def _spoken(syllables: list[str]) -> str:
    """The sounds of syllables; none where one of them is no Mandarin."""
    try:
        return "".join(map(sound, syllables))
    except ValueError:
        return ""


def _english(path: Path) -> dict[str, str]:
    """The usual sounds of each word."""
    found = {}
    for word, said in _json(path, dict[str, str | dict[str, str | None] | None]).items():
        usual = said.get("DEFAULT") if isinstance(said, dict) else said
        if usual:
            found[word] = usual
    return found


def _guesses(inputs: dict[str, Path]) -> Guesses | None:
    if not {"start", "chain", "emissions"} <= set(inputs):
        return None
    start = _literal(inputs["start"], dict[str, float])
    chain = _literal(inputs["chain"], dict[str, dict[str, float]])
    return Guesses(start, chain, _literal(inputs["emissions"], dict[str, dict[str, float]]))


def _literal(path: Path, kind: type[T]) -> T:
    """The value of `P = …` in a file of Python, which is not run."""
    try:
        value = ast.literal_eval(_text(path).partition("P=")[2].strip())
        return msgspec.convert(value, kind)
    except (SyntaxError, ValueError, msgspec.ValidationError) as error:
        raise refuse(path, f"not the expected table: {error}", f"不是所需的数据表：{error}") from None


def _json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise refuse(path, f"not the expected JSON: {error}", f"不是所需的 JSON：{error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(path, f"not UTF-8: {error}", f"不是 UTF-8：{error}") from None
