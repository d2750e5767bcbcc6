"""YAML that somebody else wrote, read as JSON with comments: no tags, anchors, aliases or merge keys.

What looks like a boolean, number or null is read by the core schema of YAML 1.2, so `no` and `1:30` are text.
Every value keeps the line that it began on, so that a refusal can name it.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from catalog.errors import InvalidManifest

LARGEST = 256 << 10  # bytes
DEEPEST = 20
LARGEST_INTEGER = 2**63 - 1

Path = tuple[str | int, ...]
Lines = dict[Path, int]

_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_CORE: tuple[tuple[str, str, str], ...] = (  # tag, expression, first characters
    (_NULL, r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    (_BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (_INT, r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        _FLOAT,
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
)


def place_of(path: Iterable[str | int], line: int | None = None, file: str = "") -> str:
    """How a refusal names a place: `market.yaml:12 files.model`."""
    dotted = ".".join(map(str, path))
    where = f"{file}:{line}" if file and line else file
    return " ".join(filter(None, (where, dotted))) or "manifest"


def load(content: bytes, file: str = "market.yaml") -> tuple[Any, Lines]:
    """The value of a YAML document, and the line of each place in it; raises InvalidManifest."""
    if len(content) > LARGEST:
        raise _refused(file, None, f"larger than {LARGEST >> 10} KiB", f"超过 {LARGEST >> 10} KiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _refused(file, line, "not UTF-8 text", "不是 UTF-8 文本") from None
    lines: Lines = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = _Reader(file, lines).read(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        zh = _ZH_PROBLEMS.get(str(error.problem), f"不是合法的 YAML（{error.problem}）")
        raise _refused(file, mark.line + 1 if mark else None, str(error.problem), zh) from None
    except yaml.YAMLError as error:
        why = str(error).partition("\n")[0]
        raise _refused(file, None, why, f"不是合法的 YAML（{why}）") from None
    return value, lines


def dump(value: Any) -> str:
    """A JSON value as YAML that `load` reads back as the same value."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)
    return text


def _refused(file: str, line: int | None, why: str, why_zh: str, path: Path = ()) -> InvalidManifest:
    return InvalidManifest(path=place_of(path, line, file), why=why, why_zh=why_zh)


_ZH_PROBLEMS = {
    "anchors are not allowed": "不允许使用锚点（&）",
    "aliases are not allowed": "不允许使用引用（*）",
    "tags are not allowed": "不允许使用类型标签（!）",
    "merge keys are not allowed": "不允许使用合并键（<<）",
    "nested too deep": "嵌套过深",
    "but found another document": "只能有一份文档（多了一个 ---）",
}


class _Loader(yaml.SafeLoader):
    """Composes nodes; what only serves to hide things from a reader is refused on the way."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (as in the base class)
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """One node and all in it."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise self._no("aliases are not allowed", event)
        if getattr(event, "anchor", None) is not None:
            raise self._no("anchors are not allowed", event)
        if getattr(event, "tag", None) is not None:
            raise self._no("tags are not allowed", event)
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._no("nested too deep", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    @staticmethod
    def _no(problem: str, event: Any) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes what either schema would not read as text, and never writes an anchor."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(resolvers) for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write what occurs twice twice."""
        return True


def _text(dumper: _Dumper, text: str) -> Node:
    # Line ends that only YAML knows would come back as spaces.
    quoted = '"' if any(end in text for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=quoted)


_Dumper.add_representer(str, _text)


for _tag, _expression, _first in _CORE:
    for _kind in (_Loader, _Dumper):
        first = ["" if c == "\0" else c for c in _first]
        _kind.add_implicit_resolver(_tag, re.compile(_expression), first)


class _Reader:
    """Turns nodes into values, noting lines."""

    def __init__(self, file: str, lines: Lines) -> None:
        self._file, self._lines = file, lines

    def read(self, node: Node, path: Path) -> Any:
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, n)) for n, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if key == "<<" and key_node.style is None:
                raise self._no(key_node, path, "merge keys are not allowed", "不允许使用合并键（<<）")
            if key is None or key_node.tag != "tag:yaml.org,2002:str":
                why = f"the key {key} is not text" if key is not None else "a key is not text"
                raise self._no(key_node, path, why, "键必须是文本")
            inner = (*path, key)
            self._whole(key_node, path)
            if key in found:
                first = self._lines[inner]
                why, zh = f"occurs twice, first on line {first}", f"重复出现，首次在第 {first} 行"
                raise self._no(key_node, inner, why, zh)
            found[key] = self.read(value_node, inner)
            self._lines[inner] = key_node.start_mark.line + 1
        return found

    def _scalar(self, node: Node, path: Path) -> Any:
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL:
            return node.value.lower() == "true"
        if node.tag == _INT:
            digits = node.value.lstrip("+-0")
            if len(digits) > 19 or int(digits or "0") > LARGEST_INTEGER:
                raise self._no(node, path, "the number is too large", "数字过大")
            return int(node.value)
        if node.tag == _FLOAT:
            if not node.value.lstrip("+-.").isascii() or node.value[-1].lower() in "fn":
                raise self._no(node, path, "NaN and infinity are not allowed", "不允许 NaN 与无穷大")
            number = float(node.value)
            if number in (float("inf"), float("-inf")):
                raise self._no(node, path, "the number is too large", "数字过大")
            return number
        self._whole(node, path)
        return node.value

    def _whole(self, node: Node, path: Path) -> None:
        """Refuse half characters: no UTF-8 can hold them."""
        if any("\ud800" <= c <= "\udfff" for c in node.value):
            raise self._no(node, path, "holds half of a surrogate pair", "含有残缺的代理对字符")

    def _no(self, node: Node, path: Path, why: str, why_zh: str) -> InvalidManifest:
        return _refused(self._file, node.start_mark.line + 1, why, why_zh, path)
