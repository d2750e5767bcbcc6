"""Chat templates of a version, each rendered once in Jinja's immutable sandbox.

A template is a program that came with the weights. It is run nowhere but in a child that is shut in and
bounded in time and memory, and there only in the sandbox, which refuses what reaches beyond its values.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from catalog.progress import Progress, silent
from catalog.scan import Row, Verdict

LONGEST = 256 << 10  # characters of a template
LONGEST_PROMPT = 4 << 20  # characters that a short talk may become
TALKS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "你好, what is 2 + 2?"}],
    [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "再见"},
    ],
)
NAMES = frozenset({"chat_template.jinja", "chat_template.json", "tokenizer_config.json"})


class _Raised(Exception):
    """The template refused a talk by itself, which it may."""


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False
    )

    def raise_exception(message: str) -> None:
        raise _Raised(message)

    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(str(form)[:100])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return environment


def check(folder: str, manifest: dict[str, Any], progress: Progress = silent) -> list[dict[str, Any]]:
    """Rows of the check `metadata` about templates, as JSON; none where all is well or there are none."""
    rows: list[dict[str, Any]] = []
    for path in (str(a["path"]) for a in manifest["artifacts"]):
        for template in _templates(Path(folder), path):
            progress(len(rows), 0, path)
            row = _try(path, template)
            if row is not None:
                rows.append(row.to_json())
    return rows


def _templates(folder: Path, path: str) -> Iterator[str]:
    name = path.rpartition("/")[2].lower()
    if name.endswith(".jinja"):
        yield (folder / path).read_text("utf-8")
    elif name in NAMES:
        found = json.loads((folder / path).read_text("utf-8"))
        given = found.get("chat_template") if isinstance(found, dict) else None
        if isinstance(given, str):
            yield given
        elif isinstance(given, list):
            yield from (str(each.get("template", "")) for each in given if isinstance(each, dict))
        elif isinstance(given, dict):
            yield from map(str, given.values())


def _try(path: str, template: str) -> Row | None:
    if len(template) > LONGEST:
        return Row("metadata", Verdict.failed, "metadata-template-long", path, {"limit": LONGEST})
    try:
        compiled = _environment().from_string(template)
        for talk in TALKS:
            try:
                text = compiled.render(messages=talk, add_generation_prompt=True, bos_token="", eos_token="")
            except _Raised:
                continue
            if len(text) > LONGEST_PROMPT:
                return Row(
                    "metadata", Verdict.failed, "metadata-template-long", path, {"limit": LONGEST_PROMPT}
                )
    except SecurityError as error:
        return Row("metadata", Verdict.failed, "metadata-template-unsafe", path, {"why": str(error)[:200]})
    except TemplateSyntaxError as error:
        facts = {"why": f"{error.lineno}: {error.message}"[:200]}
        return Row("metadata", Verdict.failed, "metadata-template-broken", path, facts)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        facts = {"why": f"{type(error).__name__}: {error}"[:200]}
        return Row("metadata", Verdict.warned, "metadata-template-fails", path, facts)
    return None
