"""Model cards: whether they tell people what they must know, and their Markdown as HTML that can do no harm.

A card is somebody else's text. It is shown through `render` alone: Markdown without HTML, then an allow list
of plain elements; no picture is loaded from anywhere, and links lead out without telling from where.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from catalog.progress import Progress, silent
from catalog.scan import Row, Verdict

LONGEST = 64 << 10  # characters that are shown
LEAST = {"zh": 80, "en": 200}  # characters that say anything
HAN = re.compile(r"[\u3400-\u9fff]")
TAGS = frozenset(
    {"h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote"}
    | {"ul", "ol", "li", "a", "table", "thead", "tbody", "tr", "th", "td"}
)
ACTIVE = re.compile(
    r"<\s*/?\s*(?:script|iframe|object|embed|applet|form|input|button|svg|math|style|link|meta|base|template|"
    r"frame|frameset|portal)\b|\bon[a-z]{3,20}\s*=\s*[\"'\w]|(?:javascript|vbscript|data)\s*:\s*[^\s)]{0,40}[(<;,]",
    re.IGNORECASE,
)
"""What only a text that means to run something holds; looked for outside of code."""
REMOTE = re.compile(
    r"<\s*(?:img|source|video|audio|track|picture)\b|url\s*\(\s*[\"']?\s*(?:https?:)?//", re.IGNORECASE
)
TOPICS: dict[str, tuple[str, str, str, str]] = {
    "use": (
        "用途",
        "what it is for",
        r"用途|适合|适用|用于|可以用|能做什么|做什么|场景|判断|识别|转成|提取",
        r"\b(?:intended|use[sd]?|for|purpose|tells?|task|what it does|recogni[sz]es?|turns?|finds?)\b",
    ),
    "limits": (
        "局限",
        "its limits",
        r"局限|不适合|不适用|不能|限制|不支持|风险|偏差|注意|误判|不要",
        r"\b(?:limit\w*|not (?:for|suited|meant|suitable|intended)|out[- ]of[- ]scope|bias\w*|risks?|"
        r"cannot|does not|do not|weak\w*|fails?)\b",
    ),
    "data": (
        "数据与来源",
        "data and source",
        r"数据|来源|训练|语料|出处|来自",
        r"\b(?:data\w*|train\w*|corpus|corpora|source[sd]?|comes? from|made from|upstream)\b",
    ),
    "licence": (
        "许可",
        "the licence",
        r"许可|授权|协议|license|licence|MIT|Apache|CC-BY",
        r"\b(?:licen[cs]\w*|MIT|Apache|CC-BY|terms of use)\b",
    ),
    "evaluation": (
        "评测方法",
        "how it was evaluated",
        r"评测|评估|测试|准确率|精度|实测|F1|指标|测得|对比",
        r"\b(?:evaluat\w*|accura\w*|benchmark\w*|tested?|measured?|metrics?|F1|scores?|precision|recall)\b",
    ),
}
"""What a card tells: title in zh and en, and the words that show it in each language."""


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    return parser.enable(["table", "strikethrough"]).disable("image")


@lru_cache(maxsize=256)
def render(text: str) -> str:
    """A card's Markdown as safe HTML; HTML inside it shows as text, and its headings step one down."""
    parser = _parser()
    tokens = parser.parse(text[:LONGEST])
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
    html = parser.renderer.render(tokens, parser.options, {})
    return nh3.clean(
        html,
        tags=set(TAGS),
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )


def check(words: dict[str, Any], progress: Progress = silent, *, strict: bool = True) -> list[dict[str, Any]]:
    """Rows of the check `card` as JSON; without `strict` what is only incomplete is warned of."""
    progress(0, 1)
    cards = {lang: str(words.get(f"card_{lang}") or "") for lang in ("zh", "en")}
    bad = Verdict.failed if strict else Verdict.warned
    rows: list[Row] = []
    for lang, text in cards.items():
        rows += _one(lang, text, bad)
    if cards["zh"].strip() and _plain(cards["zh"]) == _plain(cards["en"]):
        rows.append(Row("card", bad, "card-same-twice"))
    return [row.to_json() for row in rows]


def _one(lang: str, text: str, bad: Verdict) -> Iterator[Row]:
    facts = {"language": lang, "lang_title_zh": "中文" if lang == "zh" else "英文"}
    facts["lang_title_en"] = "Chinese" if lang == "zh" else "English"
    if not text.strip():
        yield Row("card", bad, "card-missing", facts=facts)
        return
    if len(text) > LONGEST:
        yield Row("card", Verdict.failed, "card-too-long", facts=facts | {"limit": LONGEST})
        return
    prose, pictures = _read(text)
    if found := ACTIVE.search(prose):
        yield Row("card", Verdict.failed, "card-active", facts=facts | {"found": found[0][:40]})
    if pictures or REMOTE.search(prose):
        yield Row("card", bad, "card-picture", facts=facts | {"found": (pictures or [""])[0][:80]})
    plain = _plain(prose)
    if len(plain) < LEAST[lang]:
        yield Row("card", bad, "card-too-short", facts=facts | {"least": LEAST[lang], "length": len(plain)})
        return
    han = len(HAN.findall(plain))
    if (lang == "zh" and han < 0.1 * len(plain)) or (lang == "en" and han > 0.5 * len(plain)):
        yield Row("card", bad, "card-language", facts=facts)
        return
    if missing := [topic for topic in TOPICS.values() if not _tells(topic, lang, text)]:
        names = {
            "missing_zh": "、".join(t[0] for t in missing),
            "missing_en": ", ".join(t[1] for t in missing),
        }
        yield Row("card", Verdict.warned, "card-incomplete", facts=facts | names)


def _tells(topic: tuple[str, str, str, str], lang: str, text: str) -> bool:
    return bool(re.search(topic[2] if lang == "zh" else topic[3], text, re.IGNORECASE))


def _read(text: str) -> tuple[str, list[str]]:
    """The text outside of code, and the addresses of its pictures."""
    parser = _parser().enable("image")
    prose: list[str] = []
    pictures: list[str] = []

    def walk(tokens: list[Token]) -> None:
        for token in tokens:
            if token.type == "image":
                pictures.append(str(token.attrs.get("src", "")))
            if token.type == "link_open":
                prose.append(f" {token.attrs.get('href', '')} ")
            if token.children:
                walk(token.children)
            elif token.type in ("text", "html_inline", "html_block"):
                prose.append(token.content)
            elif token.type in ("softbreak", "hardbreak", "inline", "paragraph_close", "heading_close"):
                prose.append("\n")

    walk(parser.parse(text))
    return "".join(prose), pictures


def _plain(text: str) -> str:
    return re.sub(r"[\s#*_>`|:.,;\-–—]+", " ", text).strip().casefold()
