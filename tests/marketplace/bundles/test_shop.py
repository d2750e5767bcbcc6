"""What a bundle carries of the shop itself."""

from packaging.utils import canonicalize_name

from marketplace.bundles import shop


def test_the_requirements_are_all_that_the_shop_imports_and_none_of_its_tools() -> None:
    names = {canonicalize_name(each.name) for each in shop.requirements()}
    assert {
        "litestar",
        "onnxruntime",
        "sqlmodel",
        "docker",
        "huggingface-hub",
        "uvicorn",
        "setuptools",
    } <= names
    assert not names & {"pytest", "ruff", "mypy", "playwright", "opc-market"}


def test_the_source_is_whole_and_holds_nothing_private() -> None:
    parts = shop.source()
    assert {"source/pyproject.toml", "source/marketplace/cli/__init__.py", "install.sh"} <= set(parts)
    assert "source/web/templates/base.html" in parts
    assert not [
        path for path in parts if "__pycache__" in path or "/tests/" in path or "node_modules" in path
    ]
    assert parts["install.sh"].mode == 0o755
