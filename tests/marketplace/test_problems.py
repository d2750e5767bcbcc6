import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import catalog
import deployer
import marketplace
from catalog.errors import CatalogError
from deployer.errors import DeployerError, DeploymentExists
from marketplace import problems
from marketplace.errors import MarketError
from marketplace.i18n import gettext

ROOTS = (CatalogError, DeployerError, MarketError)
TREES = ("catalog.errors", "deployer.errors", "deployer.optimizer.errors", "marketplace.errors")

for package in (catalog, deployer, marketplace):  # an error may be defined beside what raises it
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            import_module(module.name)


def errors(root: type[Exception]) -> Iterator[type[Exception]]:
    for child in root.__subclasses__():
        yield child
        yield from errors(child)


CODED = [e for root in ROOTS for e in errors(root) if "code" in vars(e)]  # the others carry a child's code


@pytest.mark.parametrize("error", CODED, ids=lambda e: e.__name__)
def test_every_named_error_has_words_for_the_facts_it_documents(error: type[CatalogError]) -> None:
    words = problems.WORDS[error.code]
    assert 400 <= words.status < 600
    used = {name for text in words[1:] for name in re.findall(r"{(\w+)}", text)}
    documented = " ".join(base.__doc__ or "" for base in error.__mro__ if issubclass(base, Exception))
    assert {name for name in used if name not in documented} == set()


@pytest.mark.parametrize("code", problems.WORDS)
def test_every_text_is_chinese_in_chinese(code: str) -> None:
    for text in problems.WORDS[code][1:]:
        translated = gettext("zh", text)
        words = re.sub(r"{\w+}", "", text)
        assert not re.search(r"[A-Za-z]", words) or re.search(r"[\u4e00-\u9fff]", translated), text
        assert set(re.findall(r"{\w+}", translated)) == set(re.findall(r"{\w+}", text)), text


def test_no_code_stands_for_two_errors() -> None:
    codes = [error.code for error in CODED]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("module", TREES)
def test_the_tree_in_the_docstring_is_the_tree_of_classes(module: str) -> None:
    source = (Path(__file__).parents[2] / (module.replace(".", "/") + ".py")).read_text()
    drawn = set(re.findall(r"[├└]── (\w+)", source))
    assert drawn == {e.__name__ for root in ROOTS for e in errors(root) if e.__module__ == module}


def test_facts_that_are_words_are_told_in_the_language_asked_for() -> None:
    facts = {"device": "npu", "why": "no driver", "why_zh": "没驱动", "next": "get one", "next_zh": "装驱动"}
    told = problems.problem("target-unavailable", "zh", **facts)
    assert (told.detail, told.next) == ("npu：没驱动。", "装驱动")
    told = problems.problem("target-unavailable", "en", **facts)
    assert (told.detail, told.next) == ("npu: no driver.", "get one")


def test_facts_are_filled_in_and_a_missing_one_shows_as_a_dash() -> None:
    problem = problems.problem_of(DeploymentExists(name="reader", state="live"), "en")
    assert (problem.status, problem.code) == (409, "deployment-exists")
    assert problem.detail == "A deployment called reader is live."
    assert "market stop reader" in problem.next
    assert "–" in problems.problem("not-ready", "en").detail


def test_an_unknown_code_is_still_a_problem() -> None:
    assert problems.problem("no-such-code", "zh").status == 500
