"""Sound files with bytes changed at random: the scan says pass or fail, and neither raises nor hangs.

A check that stumbles refuses the file as unreadable; that is closed, but it is no check, so it counts here.
"""

import random
from pathlib import Path

import pytest

from catalog.scan import Row
from catalog.scan.folder import scan
from tests.catalog.scan.samples import announced
from tests.catalog.scan.sound import SOUND

ROUNDS = 60


def _change(data: bytearray, chance: random.Random) -> None:
    """One to four changes: a bit, a byte of meaning, a cut, a doubled or removed part."""
    for _ in range(chance.randint(1, 4)):
        if not data:
            return
        at, kind = chance.randrange(len(data)), chance.randrange(6)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0, 1, 127, 128, 255, 0x22, 0x7B, 0x5B))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[max(0, at - chance.randint(1, 64)) : at]
        elif kind == 4:
            del data[at : at + chance.randint(1, 16)]
        else:
            data[at : at + 8] = chance.choice((b"\xff" * 8, bytes(8), (1 << 62).to_bytes(8, "little")))


@pytest.mark.parametrize("name", SOUND)
def test_changed_file_is_judged_and_nothing_stumbles(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    SOUND[name](folder, tmp_path / "canary")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    whole = {path: path.read_bytes() for path in paths}
    for seed in range(ROUNDS):
        chance = random.Random(f"{name} {seed}")
        path = chance.choice(paths)
        data = bytearray(whole[path])
        _change(data, chance)
        path.write_bytes(data)
        rows = scan(folder, announced(folder))
        assert all(isinstance(row, Row) for row in rows)
        assert "file-unreadable" not in {row.code for row in rows}, f"seed {seed}"
        path.write_bytes(whole[path])


def test_unpickled_scanned_and_forgotten(tmp_path: Path) -> None:
    """Noise of every length under every suffix is refused or passed without a stumble."""
    chance = random.Random(6)
    suffixes = (
        "onnx",
        "gguf",
        "safetensors",
        "npy",
        "npz",
        "json",
        "yaml",
        "toml",
        "png",
        "jpg",
        "webp",
        "model",
        "bin",
    )
    for number, suffix in enumerate(suffixes * 12):
        (tmp_path / f"{number}.{suffix}").write_bytes(chance.randbytes(chance.randint(1, 3000)))
    rows = scan(tmp_path, announced(tmp_path))
    assert "file-unreadable" not in {row.code for row in rows}
