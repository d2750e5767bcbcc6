"""market optimize and market verify on a model file, with no shop; and what the terminal shows of a job."""

import io
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.progress import Progress, TextColumn

from deployer.optimizer import report as reports
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Interval, Reason, Trial
from marketplace.cli import jobs, main
from tests.deployer.optimizer.convert.tflite_cases import dense


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARKET_URL", "MARKET_KEY", "MARKET_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three layers in an .onnx file, and 240 rows for it."""
    folder = tmp_path_factory.mktemp("here")
    chance = np.random.default_rng(0)
    widths = (64, 512, 512, 8)
    nodes, weights, last = [], [], "x"
    for number, (rows, columns) in enumerate(pairwise(widths)):
        drawn = (chance.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights.append(numpy_helper.from_array(drawn, f"w{number}"))
        out = "scores" if columns == widths[-1] else f"m{number}"
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [out]))
        if out != "scores":
            nodes.append(helper.make_node("Relu", [out], [f"r{number}"]))
        last = f"r{number}"
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])]
        for name, width in (("x", widths[0]), ("scores", widths[-1]))
    ]
    graph = helper.make_graph(nodes, "layers", *ends, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "layers.onnx")
    np.savez(folder / "rows.npz", x=chance.normal(size=(240, widths[0])).astype(np.float32))
    return folder


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKET_HOME", str(place / "home"))
    return place / "home"


def market(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments])


@pytest.fixture(scope="module")
def variant(place: Path) -> Path:
    """The folder of a variant, found once."""
    out = place / "variant"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARKET_HOME", str(place / "home"))
        patch.setenv("MARKET_LANG", "en")
        done = market(
            "optimize",
            place / "layers.onnx",
            "--data",
            place / "rows.npz",
            "--objective",
            "smallest",
            "--out",
            out,
            "--json",
        )
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["state"], told["outcome"], told["out"]) == ("done", "picked", str(out)), told["why"]
    assert told["figures"]["size_ratio"] <= 0.55
    assert "Certify …" in done.stderr
    return out


def test_a_variant_is_a_whole_model_folder(variant: Path, place: Path, home: Path) -> None:
    names = {path.name for path in variant.iterdir()}
    assert {"certificate.json", "manifest.json", "signature.json", "signing.pub.pem"} < names
    manifest = json.loads((variant / "manifest.json").read_text())
    onnx.load(variant / manifest["files"]["model"])
    assert manifest["files"]["certificate"] == "certificate.json"
    assert {a["path"] for a in manifest["artifacts"]} == names - {
        "manifest.json",
        "signature.json",
        "signing.pub.pem",
    }
    assert [p.name for p in home.iterdir() if p.name.startswith("optimize-")] == []
    assert (home / "keys" / "signing.pem").stat().st_mode & 0o077 == 0
    assert onnx.load(place / "layers.onnx").graph.name == "layers"


def test_it_is_verified_with_no_shop(variant: Path, home: Path, tmp_path: Path) -> None:
    done = market("verify", variant)
    assert done.exit_code == 0, done.stderr
    assert "this home's key" in done.stdout
    elsewhere = tmp_path / "moved"
    shutil.copytree(variant, elsewhere)
    told = json.loads(market("verify", elsewhere, "--json").stdout)
    assert (told["holds"], told["own"], told["certificate"]["device"]) == (True, True, "cpu")
    assert market("verify", elsewhere, "--key", variant / "signing.pub.pem").exit_code == 0


def test_a_key_of_somebody_else_does_not_fit(
    variant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "other"))
    from catalog import signing

    signing.ensure_key(tmp_path / "other")
    unknown = market("verify", variant)
    assert (unknown.exit_code, "--key" in unknown.stderr) == (1, True)
    given = market("verify", variant, "--key", variant / "signing.pub.pem")
    assert (given.exit_code, "compare it with the signer's" in given.stdout) == (0, True)
    done = market("verify", variant, "--key", signing.public_key(tmp_path / "other"))
    assert (done.exit_code, "[signature-invalid]" in done.stderr) == (1, True)
    assert market("verify", variant, "--key", variant / "manifest.json").exit_code == 1


@pytest.mark.parametrize("harm", ["graph", "certificate", "extra", "unsigned", "nothing"])
def test_what_was_changed_does_not_hold(variant: Path, home: Path, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "variant"
    shutil.copytree(variant, folder)
    if harm == "graph":
        (graph,) = folder.glob("*.onnx")
        graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    elif harm == "certificate":
        made = json.loads((folder / "certificate.json").read_text())
        made["objective"]["max_drop"] = 0.5
        (folder / "certificate.json").write_text(json.dumps(made))
    elif harm == "extra":
        (folder / "more").write_bytes(b"")
    else:
        (folder / "signature.json").unlink()
    if harm == "nothing":
        (folder / "signing.pub.pem").unlink()
    done = market("verify", folder, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["holds"] is False
    assert "[signature-invalid]" in done.stderr


def test_a_signed_certificate_that_claims_too_much_does_not_hold(
    variant: Path, home: Path, tmp_path: Path
) -> None:
    """Whoever signs may err: the decision is made again by the figures."""
    from catalog import signing

    folder = tmp_path / "variant"
    shutil.copytree(variant, folder)
    for name in ("signature.json", "signing.pub.pem"):
        (folder / name).unlink()
    made = json.loads((folder / "certificate.json").read_text())
    made["quality"]["agreement"] |= {"value": 0.9, "low": 0.86}
    (folder / "certificate.json").write_text(json.dumps(made))
    signing.sign_folder(home, folder, tmp_path / "signature.json", "x")
    shutil.move(tmp_path / "signature.json", folder)
    done = market("verify", folder, "--key", signing.public_key(home))
    assert (done.exit_code, "[certificate-refused]" in done.stderr) == (1, True)
    assert "90.00%" in done.stderr


def test_a_dry_run_changes_nothing(place: Path, home: Path) -> None:
    before = sorted(path.name for path in place.iterdir())
    done = market("optimize", place / "layers.onnx", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    look = json.loads(done.stdout)
    assert look["summary"]["parameters"] == 64 * 512 + 512 * 512 + 512 * 8
    assert "dynamic-int8" in {recipe["id"] for recipe in look["recipes"]["model"]["recipes"]}
    assert "299,008" in market("optimize", place / "layers.onnx", "--dry-run").stdout
    assert sorted(path.name for path in place.iterdir()) == before


def test_another_form_is_converted_first(home: Path, tmp_path: Path) -> None:
    tflite = tmp_path / "dense.tflite"
    tflite.write_bytes(next(dense()).model)
    done = market("optimize", tflite, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    assert "dense.tflite" in done.stderr
    assert json.loads(done.stdout)["architecture"]["graphs"][0]["role"] == "model"


def test_what_cannot_be_converted_is_refused_with_its_cause(home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model at all")
    done = market("optimize", tmp_path / "notes.txt", "--dry-run")
    assert (done.exit_code, "[conversion-failed]" in done.stderr) == (1, True), done.stderr
    (tmp_path / "empty").mkdir()
    assert market("optimize", tmp_path / "empty", "--dry-run").exit_code == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "not-onnx"), (b"no graph at all", "not-onnx"), (b"PK\x03\x04" + b"\0" * 64, "not-onnx")],
)
def test_what_is_no_graph_is_refused(home: Path, tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    for options in (["--dry-run"], []):
        done = market("optimize", tmp_path / "model.onnx", "--out", tmp_path / "out", *options, "--json")
        assert (done.exit_code, f"[{code}]" in done.stderr) == (1, True), done.stderr
        assert json.loads(done.stdout)["error"]["next"]
    assert not (tmp_path / "out").exists()


def test_bounds_and_data_that_cannot_be_used_are_refused(place: Path, home: Path, tmp_path: Path) -> None:
    model = place / "layers.onnx"
    few = tmp_path / "few.npz"
    np.savez(few, x=np.zeros((3, 64), np.float32))
    for options, code in (
        (["--max-drop", "0.9"], "objective-refused"),
        (["--max-size", "1KB"], "objective-refused"),
        (["--data", few], "data-too-few"),
        (["--device", "abacus"], "unknown-device"),
    ):
        done = market("optimize", model, "--out", tmp_path / "out", *options)
        assert (done.exit_code, f"[{code}]" in done.stderr) == (1, True), (options, done.stderr)


def test_wrong_usage(place: Path, home: Path, tmp_path: Path) -> None:
    model = place / "layers.onnx"
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("")
    for options in (
        [],
        [model, "--out", full],
        [model, "--deploy"],
        [model, "--max-size", "large"],
        [model, "--objective", "best"],
        [tmp_path / "none.onnx"],
        ["opc-market/x", "--out", tmp_path / "out"],
    ):
        done = market("optimize", *options)
        assert done.exit_code == 2, (options, done.output)
    assert market("verify", tmp_path / "none").exit_code == 2
    assert market("verify", "x", "--key", model).exit_code == 2
    assert (full / "mine").exists()


# What the terminal shows


def job_of(report: reports.Report, **more: Any) -> dict[str, Any]:
    plain = reports.to_plain(report)
    told = {name: plain[name] for name in ("done", "total", "seconds_left", "note")}
    return {"state": "running", "ahead": 0, "report": plain, **told, **more}


def states() -> list[dict[str, Any]]:
    """A job as it goes: waiting, building, judging twice, done."""
    report = reports.new("cpu", Objective(), 0)
    seen = [{**job_of(report), "state": "pending", "ahead": 2, "report": {}}]
    report.steps[0].state, report.steps[2].state = "done", "running"
    report.done, report.total, report.seconds_left = 3, 9, 41.0
    seen.append(job_of(report))
    report.steps[2].state = "done"
    report.trials = [
        Trial("slim", {"model": "slim"}, state="refused", why=Reason("no-faster", "no gain", "没有收益")),
        Trial("int8", {"model": "int8"}, state="passed", speed=Interval(2.0, 1.9, 2.1)),
    ]
    for _ in range(2):
        report.steps[5].state = "running"
        seen.append(job_of(report))
        report.steps[5].state = "done"
        seen.append(job_of(report))
    return seen


def test_a_pipe_gets_one_line_for_each_news(capsys: pytest.CaptureFixture[str]) -> None:
    with jobs.viewed() as view:
        for state in states():
            view(state)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Waiting, 2 ahead",
        "Inspect …",
        "Build …",
        "Judge …",
        "  ✗ slim  no gain",
        "  ✓ int8  2.00 × [1.90, 2.10]",
    ]


def test_a_terminal_gets_bars() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    columns = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        view = jobs._Bars(progress)
        for state in states():
            view(state)
            progress.refresh()
    shown = screen.getvalue()
    assert "Waiting, 2 ahead" in shown
    assert "3/9  about 41 s left" in shown
    assert shown.count("✓ int8  2.00 × [1.90, 2.10]") == 1
    assert [task.description for task in progress.tasks] == ["Inspect", "Build", "Judge"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("30MB", 30_000_000), ("500 mb", 500_000_000), ("1.5GB", 1_500_000_000), ("7", 7), ("2MiB", 2_000_000)],
)
def test_sizes_as_people_write_them(text: str, count: int) -> None:
    from marketplace.cli.optimize import Bytes

    assert Bytes().convert(text, None, None) == count
