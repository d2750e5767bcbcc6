"""The table of operators against the ONNX Runtime that is installed, and loops by what ends them."""

from pathlib import Path

import onnxruntime.capi.onnxruntime_pybind11_state as runtime
import pytest

from catalog.scan import onnx_operators
from catalog.scan.folder import scan
from tests.catalog.scan import forge
from tests.catalog.scan.samples import announced


def test_the_runtime_knows_the_table_and_nothing_beyond_it() -> None:
    known: dict[str, set[str]] = {}
    for schema in runtime.get_all_operator_schema():
        known.setdefault(schema.domain, set()).add(schema.name)
    for domain, names in onnx_operators.OPERATORS.items():
        plug_ins = {name for name in known[domain] if name.endswith("_TRT")}
        assert known[domain] - plug_ins - onnx_operators.REFUSED == names


@pytest.mark.parametrize(
    ("trips", "going", "changes", "said"),
    [
        (10, None, False, []),
        (10, True, True, []),
        ((1 << 63) - 1, True, True, ["onnx-loop-open"]),
        (None, True, True, ["onnx-loop-open"]),
        (None, None, True, ["onnx-loop-open"]),
        (None, False, False, ["onnx-loop-open"]),
        (None, True, False, ["onnx-loop-endless"]),
        (None, None, False, ["onnx-loop-endless"]),
        ((1 << 63) - 1, None, False, ["onnx-loop-endless"]),
        (20_000_000, None, False, ["onnx-loop-endless"]),
    ],
)
def test_a_loop_needs_an_end(
    trips: int | None, going: bool | None, changes: bool, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(forge.loop(trips, going, changes=changes))
    assert [row.code for row in scan(tmp_path, announced(tmp_path)) if row.code] == said
