"""What can be used must be written down, and what is written down must be there."""

import re
from pathlib import Path

import pytest

from marketplace import cli, problems
from marketplace.settings import SETTINGS, variable
from tests.docs.tables import settings_table

ROOT = Path(__file__).parents[2]
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh.md"}


@pytest.mark.parametrize("lang", READMES)
def test_every_setting_stands_in_the_readme(lang: str) -> None:
    text = READMES[lang].read_text()
    block = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", text, re.DOTALL)
    assert block is not None
    assert block[1].strip() == settings_table(lang).strip(), "run: python -m tests.docs.tables"


@pytest.mark.parametrize("lang", READMES)
def test_every_command_stands_in_the_readme(lang: str) -> None:
    text = READMES[lang].read_text()
    commands = set(cli.main.commands) - {"serve"}
    assert {c for c in commands if f"market {c}" not in text} == set()


def test_commands_named_in_messages_exist() -> None:
    named = {
        command
        for words in problems.WORDS.values()
        for text in words[1:]
        for command in re.findall(r"market ([a-z][a-z-]+)", text)
    }
    assert named <= set(cli.main.commands)


def test_variables_named_in_messages_exist() -> None:
    named = {
        name
        for words in problems.WORDS.values()
        for text in words[1:]
        for name in re.findall(r"MARKET_[A-Z_]+", text)
    }
    assert named <= {variable(setting.name) for setting in SETTINGS}


@pytest.mark.parametrize(
    "name", ["README.md", "README.zh.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
        assert (ROOT / target).exists(), target


def test_modules_named_in_the_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in re.findall(r"`((?:catalog|deployer|marketplace|web)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_makefile_explains_each_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    assert [t for t in targets if t != "setup" and not re.search(rf"^{t}:.*## ", text, re.MULTILINE)] == []
