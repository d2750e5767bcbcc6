"""A README as hubs have it: YAML between two lines of dashes, then Markdown. Read as data of strangers."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from catalog.importers.hints import Hints
from catalog.taxonomy import LANGUAGES

LARGEST = 256 << 10  # bytes that are read of a README
FACTS = 32 << 10  # characters of front matter
LINE = 2000  # characters of a paragraph: what looks for links in it takes their square
_HEAD = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)
_CJK = re.compile(r"[\u4e00-\u9fff]")
SPDX = {
    "afl-3.0": "AFL-3.0",
    "agpl-3.0": "AGPL-3.0-only",
    "apache-2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "artistic-2.0": "Artistic-2.0",
    "bsd": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsl-1.0": "BSL-1.0",
    "cc0-1.0": "CC0-1.0",
    "cc-by-2.0": "CC-BY-2.0",
    "cc-by-3.0": "CC-BY-3.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-2.0": "CC-BY-NC-2.0",
    "cc-by-nc-3.0": "CC-BY-NC-3.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-nd-4.0": "CC-BY-NC-ND-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "cc-by-nd-4.0": "CC-BY-ND-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "ecl-2.0": "ECL-2.0",
    "epl-2.0": "EPL-2.0",
    "eupl-1.2": "EUPL-1.2",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "isc": "ISC",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "mit": "MIT",
    "mpl-2.0": "MPL-2.0",
    "mulanpsl-2.0": "MulanPSL-2.0",
    "ms-pl": "MS-PL",
    "ncsa": "NCSA",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "osl-3.0": "OSL-3.0",
    "unlicense": "Unlicense",
    "wtfpl": "WTFPL",
    "zlib": "Zlib",
}
"""The hubs' names of licences by their small letters; those without an SPDX name become a LicenseRef."""
UNKNOWN = "LicenseRef-unknown"


@dataclass(frozen=True)
class Readme:
    """What a README says: its facts, its text without them, a title and a first sentence."""

    facts: dict[str, Any]
    text: str
    title: str = ""
    summary: str = ""

    @property
    def chinese(self) -> bool:
        """Whether its text is in Chinese."""
        return len(_CJK.findall(self.text)) * 10 > len(self.text)

    @property
    def hints(self) -> Hints:
        """Licence, languages, task and base as the front matter names them."""
        facts = self.facts
        return Hints(
            license=_word(
                facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
            ),
            languages=tuple(_words(facts.get("language"))),
            task=_word(facts.get("pipeline_tag")),
            base=_word(facts.get("base_model")),
            title=self.title,
            tags=tuple(_words(facts.get("tags"))),
        )


def read_readme(path: Path) -> Readme:
    """Read one, or nothing where there is none; front matter that is not plain YAML counts as none."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode("utf-8", "replace")
    except OSError:
        return Readme({}, "")
    head = _HEAD.match(text)
    text = text[head.end() :] if head else text
    return Readme(_facts(head[1]) if head else {}, text.strip(), _title(text), _summary(text))


def _facts(text: str) -> dict[str, Any]:
    # Anchors make a small text a large tree.
    if len(text) > FACTS or re.search(r"(^|[\s\[{,:-])[&*][\w-]", text, re.MULTILINE):
        return {}
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def spdx(name: str) -> str:
    """The SPDX expression of a hub's licence name."""
    word = name.strip().lower()
    if word in ("", "unknown", "none"):
        return UNKNOWN
    if word in SPDX:
        return SPDX[word]
    if (known := {each.lower(): each for each in SPDX.values()}.get(word)) is not None:
        return known
    return f"LicenseRef-{re.sub(r'[^A-Za-z0-9.-]+', '-', name.strip()).strip('-.')[:60] or 'unknown'}"


def languages(names: tuple[str, ...]) -> list[str]:
    """Those of the catalogue's languages that are named, by their codes."""
    codes = [re.split(r"[-_]", name.lower())[0] for name in names]
    return [code for code in LANGUAGES if code in codes]


def _words(value: Any) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [one[:100] for one in found[:50] if isinstance(one, str)]


def _word(value: Any) -> str:
    return next(iter(_words(value)), "")


def _title(text: str) -> str:
    found = re.search(r"^#{1,2}[ \t]+([^\n]{1,300})", text, re.MULTILINE)
    return _plain(found[1].rstrip(" \t\r#"))[:80] if found else ""


def _summary(text: str) -> str:
    """The first paragraph that is prose."""
    text = re.sub(r"```.*?(```|\Z)|<!--.*?(-->|\Z)", "", text[:40_000], flags=re.DOTALL)
    for part in re.split(r"\n\s*\n", text):
        line = _plain(" ".join(part[:LINE].split()))
        if len(line) >= 20 and not re.match(r"[#|>*\-+!\[<=]|\d+\.", part.strip()):
            return line if len(line) <= 200 else line[:199].rstrip() + "…"
    return ""


def _plain(line: str) -> str:
    line = re.sub(r"!\[[^\]]*\]\([^)]*\)|<[^>]*>", "", line)
    line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)
    return re.sub(r"[*_`]{1,3}", "", line).strip()
