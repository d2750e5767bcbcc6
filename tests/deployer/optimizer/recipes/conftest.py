from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from deployer.optimizer.recipes import RecipeRefused, apply
from tests.deployer.optimizer.recipes import nets


class Bench:
    """A graph in a folder of its own, and recipes applied to it."""

    def __init__(self, folder: Path, model: ModelProto) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.source = nets.write(model, folder / "source.onnx")
        self.out = folder / "out.onnx"

    def apply(self, recipe: str, feeds: Any = (), **options: Any) -> dict[str, Any]:
        try:
            return apply(recipe, self.source, self.out, feeds, folder=self.scratch, **options)
        finally:
            assert list(self.scratch.iterdir()) == []  # nothing is left behind, come what may

    def refusal(self, recipe: str, feeds: Any = (), **options: Any) -> dict[str, Any]:
        with pytest.raises(RecipeRefused) as caught:
            self.apply(recipe, feeds, **options)
        facts = caught.value.facts
        assert caught.value.code == "recipe-refused"
        assert facts["recipe"] == recipe
        assert facts["why"] and facts["why_zh"]
        assert not self.out.exists()
        return facts

    def error(self, feeds: Any) -> float:
        return nets.error(self.source, self.out, feeds)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[ModelProto], Bench]:
    return lambda model: Bench(tmp_path, model)
