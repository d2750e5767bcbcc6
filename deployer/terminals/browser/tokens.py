"""Whether the page's tokenizer reads texts as the server's does: tried in Node on texts of many kinds.

The page's tokenizer is another implementation of the same file, and does not know every construction in it.
A model whose texts it would read otherwise is refused, for its answers would be others.
"""

import json
import subprocess
from pathlib import Path

from deployer.errors import PackagingFailed, TerminalNotSupported
from deployer.optimizer.targets.players import node
from deployer.packager.release import Release
from deployer.terminals.browser import npm

SCRIPT = Path(__file__).with_name("tokens.mjs")
SECONDS = 60.0
TEXTS = (
    "Where can I get a refund for my order?",
    "它的质量很好，下次还会再买！",
    "  Two  blanks,\ttabs\nand lines \r\n",
    "naïve café, İstanbul, ﬁne ＡＢＣ １２３ ㎏ ½ ①",
    "don't re-use e-mail: someone@example.com, 3.14 %, №7, $5",
    "日本語のテキスト、한국어 텍스트, Русский текст, العربية, हिन्दी",
    "emoji 😀 👍🏽 👩‍👩‍👧 and\u200bzero\u00a0width",
    "[CLS] <s> </s> [MASK] <unk> ## @@ ▁ Ġ",
    "antidisestablishmentarianism " * 3,
)


def check(release: Release, packages: Path) -> None:
    """Raise TerminalNotSupported where ids differ, PackagingFailed where it cannot be found out."""
    from tokenizers import Tokenizer

    path = release.folder / release.manifest["files"]["tokenizer"]
    texts = [*TEXTS, *_of_examples(release)]
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    expected = [each.ids for each in tokenizer.encode_batch(texts)]
    for text, wanted, got in zip(texts, expected, _in_node(release, packages, path, texts), strict=True):
        if wanted != got:
            raise TerminalNotSupported(
                terminal="browser",
                task=release.task,
                why=f"the browser's tokenizer reads a text otherwise than the server's: {text[:60]!r}",
                why_zh=f"浏览器里的分词器对这段文字的切分与服务器不同：{text[:60]!r}",
            )


def _of_examples(release: Release) -> list[str]:
    """The texts in the requests of the release's examples."""
    requests = [each.get("request") or {} for each in release.manifest.get("examples") or []]
    values = [value for request in requests for value in request.values()]
    lists = [value if isinstance(value, list) else [value] for value in values]
    return [text for each in lists for text in each if isinstance(text, str)]


def _in_node(release: Release, packages: Path, path: Path, texts: list[str]) -> list[list[int]]:
    program = node()
    if program is None:
        raise PackagingFailed(image=release.name, why="no Node to try the browser's tokenizer in")
    try:
        done = subprocess.run(  # noqa: S603 (our own script)
            [program, str(SCRIPT), str(packages / npm.TOKENIZERS), str(path)],
            input=json.dumps(texts).encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        why = f"the browser's tokenizer took more than {SECONDS:.0f} s"
        raise PackagingFailed(image=release.name, why=why) from error
    if done.returncode:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if "Error" in line]
        raise TerminalNotSupported(
            terminal="browser",
            task=release.task,
            why=f"the browser's tokenizer cannot read this model's: {(said or ['?'])[0][:200]}",
            why_zh=f"浏览器里的分词器读不了这个模型的分词文件：{(said or ['?'])[0][:200]}",
        )
    found: list[list[int]] = json.loads(done.stdout)
    return found
