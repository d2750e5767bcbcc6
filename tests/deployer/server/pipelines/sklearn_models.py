"""Model folders around what scikit-learn trains and skl2onnx writes, as a vendor would make them."""

from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.deployer.server.conftest import write_model

CITIES = ("深圳", "Beijing", "Wuhan")
FRAME = [
    ("age", FloatTensorType([None, 1])),
    ("city", StringTensorType([None, 1])),
    ("visits", Int64TensorType([None, 1])),
]


def matrix_model(folder: Path, task: str, fitted: Any, features: int, **options: Any) -> Path:
    """A folder around a model of one float matrix."""
    made = to_onnx(fitted, np.zeros((1, features), np.float32), options=_options(fitted))
    return write_model(folder, made, task, options=options)


def frame_model(folder: Path, task: str, fitted: Any, **options: Any) -> Path:
    """A folder around a model of the mixed table."""
    made = to_onnx(fitted, initial_types=FRAME, options=_options(fitted))
    return write_model(folder, made, task, options=options)


def mixed_table(rows: int = 150) -> np.ndarray:
    """Age, city and visits of made-up customers, some without an age."""
    random = np.random.default_rng(7)
    table = np.empty((rows, 3), object)
    table[:, 0] = random.integers(18, 80, rows).astype(float)
    table[random.random(rows) < 0.1, 0] = np.nan
    table[:, 1] = random.choice(CITIES, rows)
    table[:, 2] = random.integers(0, 9, rows)
    return table


def mixed_pipeline(last: Any) -> Any:
    """Filling in, scaling and one-hot columns before an estimator, all inside the graph."""
    columns = ColumnTransformer(
        [
            ("age", make_pipeline(SimpleImputer(), StandardScaler()), [0]),
            ("city", OneHotEncoder(handle_unknown="ignore"), [1]),
            ("visits", "passthrough", [2]),
        ]
    )
    return make_pipeline(columns, last)


def as_rows(table: np.ndarray) -> list[dict[str, Any]]:
    """The mixed table as bodies have it: an age that is not known is absent."""
    names = [name for name, _ in FRAME]
    return [
        {name: cell for name, cell in zip(names, row, strict=True) if cell == cell} for row in table.tolist()
    ]


def _options(fitted: Any) -> dict[str, Any] | None:
    return {"zipmap": False} if hasattr(fitted, "predict_proba") else None
