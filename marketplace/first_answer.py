"""A first example for a folder: its model is asked once in the sandbox, as checks would ask it.

Nothing of it is needed to publish: where the checks refuse the files, the machine has no full sandbox or the
model does not answer, there is no example, and the vendor writes one.
"""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from catalog import first_examples
from catalog.errors import CatalogError
from catalog.offer import Offer, inlined
from catalog.progress import Progress, silent
from deployer.errors import DeployerError
from marketplace import trying
from marketplace.examining import EVERY_FILE, Examination, Subject, lay_out

LARGEST = 1 << 30  # bytes of a model that is asked only so that somebody has less to write


def first_example(folder: Path, offer: Offer, progress: Progress = silent) -> dict[str, Any]:
    """An example with the model's own answer as its expectation, {} where the model cannot be asked."""
    if offer.size > LARGEST:
        return {}
    with (
        tempfile.TemporaryDirectory(prefix="market-first-") as work,
        contextlib.suppress(CatalogError, DeployerError, OSError),
    ):
        room = Path(work)
        (room / "files").mkdir()
        files = lay_out(folder, offer.manifest(), room / "files")
        looked = Examination(files, Subject.of(offer), room, linked=True, strict=False)
        looked.tick = progress
        return _asked(looked, folder, offer)
    return {}


def _asked(looked: Examination, folder: Path, offer: Offer) -> dict[str, Any]:
    for row in looked.rows():  # as far as the files' own checks; the others come with `--check`
        if row.check not in ("manifest", *EVERY_FILE):
            break
    if not looked.gate_open:
        return {}
    request = _request(looked, folder, offer)
    if request is None:
        return {}
    answer = trying.answers(looked, [inlined(request, folder)])[0]
    expect = first_examples.expectation_of(answer)
    return first_examples.example(request, expect) if expect is not None else {}


def _request(looked: Examination, folder: Path, offer: Offer) -> dict[str, Any] | None:
    """The first example's own, where it has one."""
    sheet = offer.sheet
    if sheet.examples:
        return sheet.examples[0].request
    if sheet.task == "tensors" and "model" in sheet.files:
        inputs = trying.signature(looked, sheet.files["model"])["inputs"]
        return first_examples.request_of_tensors(inputs)
    return first_examples.request_for(sheet.task, folder, "zh" if sheet.languages[:1] == ["zh"] else "en")
