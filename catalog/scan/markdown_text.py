"""Model cards in Markdown: text, not a page. Pages render them through a sanitiser all the same."""

import re

from catalog.scan.findings import Refused, Report, shown
from catalog.scan.source import Source
from catalog.scan.texts import check_text

LARGEST = 1 << 20
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_IN_LINE = re.compile(r"`[^`\n]{0,2000}`")
_TAG = re.compile(r"\s{0,9}/?\s{0,9}([a-z][a-z0-9]*)", re.I)
_ACTIVE = {
    "script", "iframe", "object", "embed", "applet", "form", "input", "button", "style", "link", "meta",
    "base", "svg", "math", "template", "frame", "frameset", "video", "audio", "portal",
}  # fmt: skip
_HANDLER = re.compile(r"[\s/\"']on[a-z]{3,20}\s{0,9}=", re.I)
_HIDDEN_SIGN = re.compile(r"&(?:#x?0*(?:[0-9a-f]{1,3}|[0-9]{1,3})|colon|tab|newline|lpar|rpar);?", re.I)
_SCHEME = re.compile(
    r"(?:javascript|vbscript|livescript)\s*:|data\s*:\s*(?:text|application|image/svg)", re.I
)
_TARGET = re.compile(
    r"\]\(\s*<?([^)\s>]{1,4000})"
    r"|^ {0,3}\[[^\]\n]{1,999}\]:[ \t]*\n?[ \t]*<?(\S{1,4000})"
    r"|(?:href|src)\s*=\s*[\"']?([^\"'\s>]{1,4000})"
    r"|<([a-z][a-z0-9+.-]{1,31}:[^<>\s]{1,4000})>",
    re.I | re.M,
)


def check(source: Source, report: Report) -> None:
    """Refuse cards with active HTML or links that run code; plain tags are noted."""
    try:
        text = source.whole(LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("text-not-utf8") from None
    check_text(text, source.name)
    bare = _without_code(text)
    for match in _TARGET.finditer(bare):
        target = next(part for part in match.groups() if part)
        if _SCHEME.match(_plain(target)):
            raise Refused("link-runs-code", link=shown(target, 40))
    for part in bare.split("<")[1:]:
        tag = _TAG.match(part)
        if tag is None:
            continue
        if tag[1].lower() in _ACTIVE or _HANDLER.search(part.partition(">")[0][:10_000]):
            raise Refused("text-active-html", tag=shown("<" + part, 40))
        if ">" in part:
            report.warn("text-html-in-card")


def _without_code(text: str) -> str:
    """A card without its blocks and spans of code, which show tags as they are."""
    kept, fence = [], ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        elif mark and not (mark[1][0] == "`" and "`" in line[mark.end() :]):
            fence = mark[1]
        else:
            kept.append(_IN_LINE.sub("", line))
    return "".join(kept)


def _plain(target: str) -> str:
    """A link with entities and control signs taken out, as browsers read its scheme."""

    def sign(match: re.Match[str]) -> str:
        body = match[0].strip("&;").lower()
        if body.startswith("#"):
            number = int(body[2:], 16) if body.startswith("#x") else int(re.sub(r"\D", "", body) or 0)
            return chr(number)
        return {"colon": ":", "lpar": "(", "rpar": ")"}.get(body, "")

    return re.sub(r"[\x00-\x20\u200b-\u200f]", "", _HIDDEN_SIGN.sub(sign, target))
