"""What every judge promises, and each one by cases that can be checked by hand or against another library."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from sklearn import metrics as sklearn

from deployer.optimizer.metrics import JUDGES, judge_for, value
from deployer.optimizer.metrics.boxes import overlaps
from deployer.optimizer.metrics.texts import distance, units
from deployer.server.sound.encoding import wav

ones = lambda n: np.ones((1, n))  # noqa: E731


def classes(*labels):
    return [{"results": [{"label": label, "score": 0.9}]} for label in labels]


def mask(array):
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(array, bool) * 255).astype(np.uint8)).save(buffer, "PNG")
    return {"base64": base64.b64encode(buffer.getvalue()).decode()}


def sound(frequency, seconds=1.0, rate=16000):
    times = np.arange(round(seconds * rate)) / rate
    samples = 0.5 * np.sin(2 * np.pi * frequency * times * (1 + 0.2 * times))
    return {"audio": {"base64": base64.b64encode(wav(samples, rate)).decode()}}


LEFT, RIGHT = np.arange(64).reshape(8, 8) % 8 < 4, np.arange(64).reshape(8, 8) % 8 >= 4

# Two answers, and labels that say the first of each pair is right.
CASES = {
    "automatic-speech-recognition": (
        [{"text": "你好，世界"}, {"text": "Good morning"}],
        ["你好世界", "good morning"],
    ),
    "document-layout": (
        [{"regions": [{"label": "title", "score": 0.9, "box": [0, 0, 10, 10]}]}, {"regions": []}],
        [[{"label": "title", "box": [0, 0, 10, 10]}], []],
    ),
    "feature-extraction": ([{"embeddings": [[1.0, 0.0]]}, {"embeddings": [[0.6, 0.8]]}], ["a", "a"]),
    "file-type": ([{"label": "pdf", "score": 0.9}, {"label": "zip", "score": 0.9}], ["pdf", "zip"]),
    "image-classification": (classes("cat", "dog"), ["cat", "dog"]),
    "image-segmentation": (
        [{"results": [{"label": "cat", "score": 1.0, "mask": mask(LEFT)}]}, {"results": []}],
        [mask(LEFT), mask(LEFT & RIGHT)],
    ),
    "image-to-text": ([{"text": "发票 12"}, {"text": "Total: 3"}], ["发票12", "Total： 3"]),
    "object-detection": (
        [
            {"results": [{"label": "a", "score": 0.9, "box": {"xmin": 0, "ymin": 0, "xmax": 9, "ymax": 9}}]},
            {"results": []},
        ],
        [[{"label": "a", "box": [0, 0, 9, 9]}], []],
    ),
    "sentence-similarity": ([{"scores": [0.9]}, {"scores": [0.1]}], [5, 1]),
    "tabular-classification": (classes("low", "high"), ["low", "high"]),
    "tabular-regression": ([{"results": [{"value": 1.5}]}, {"results": [{"value": 3.0}]}], [1.5, 3]),
    "tensors": ([{"outputs": {"y": [[0.1, 0.9]]}}, {"outputs": {"y": [[0.8, 0.2]]}}], ["1", "0"]),
    "text-classification": (classes("good", "bad"), ["good", "bad"]),
    "token-classification": (
        [
            {"results": [{"entities": [{"label": "PER", "start": 0, "end": 2, "text": "李娜"}]}]},
            {"results": [{}]},
        ],
        [[{"label": "PER", "start": 0, "end": 2}], []],
    ),
    "voice-activity-detection": (
        [{"segments": [{"start": 0.5, "end": 1.0}], "duration": 2.0}, {"segments": [], "duration": 1.0}],
        [[[0.5, 1.0]], []],
    ),
}
ANSWERS = {**{task: case[0] for task, case in CASES.items()}, "text-to-speech": [sound(300), sound(500)]}


def test_every_task_of_the_server_has_a_case():
    assert set(ANSWERS) == {*JUDGES, "tensors"}


@pytest.mark.parametrize("task", sorted(CASES))
def test_right_answers_score_one(task):
    answers, labels = CASES[task]
    judge = judge_for(task)
    assert [judge.check(label) for label in labels] == [None, None]
    tally = judge.tally(answers, labels)
    assert tally.metric == judge.metric
    assert tally.n == 2
    assert value(tally) == pytest.approx(1)
    assert tally.rows == pytest.approx([1, 1])
    for name, other in tally.also.items():
        assert other.metric == name
        assert value(other) == pytest.approx(1)


@pytest.mark.parametrize("task", sorted(CASES))
def test_wrong_answers_score_less(task):
    answers, labels = CASES[task]
    judge = judge_for(task)
    if task == "feature-extraction":
        answers, labels = [{"embeddings": [[x, 1 - x]]} for x in (1, 0, 0.9, 0.1)], ["a", "a", "b", "b"]
    tally = (
        judge.tally(answers[::-1], labels) if task != "feature-extraction" else judge.tally(answers, labels)
    )
    assert 0 <= value(tally) < 1
    assert ((tally.rows >= 0) & (tally.rows <= 1)).all()


@pytest.mark.parametrize("task", sorted(ANSWERS))
def test_an_answer_agrees_with_itself_and_not_with_another(task):
    judge, answers = judge_for(task), ANSWERS[task]
    assert judge.agreement(answers, answers) == pytest.approx([1, 1])
    assert judge.agreement(answers, answers[::-1]).max() < 0.95
    assert judge.agreement([{}, {}], answers).max() == 0  # what could not be answered
    assert judge.agreement([], []).shape == (0,)


@pytest.mark.parametrize("task", sorted({*JUDGES, "tensors"}))
@pytest.mark.parametrize("label", [None, "", 3, True, [3], {"a": "b"}, [["x"]], [{"label": 3}], float("nan")])
def test_a_label_is_checked_without_an_exception(task, label):
    assert judge_for(task).check(label) is None or isinstance(judge_for(task).check(label), str)


@pytest.mark.parametrize("task", sorted(CASES))
def test_answers_and_labels_must_pair_up(task):
    answers, labels = CASES[task]
    with pytest.raises(ValueError, match="2 answers for 1 labels"):
        judge_for(task).tally(answers, labels[:1])


def test_speech_that_is_made_has_no_labels():
    with pytest.raises(ValueError, match="no labels"):
        judge_for("text-to-speech").tally([], [])


@pytest.mark.parametrize("task", sorted(CASES))
def test_weights_are_counts_of_rows(task):
    """A row that was drawn twice counts as if it stood there twice."""
    answers, labels = CASES[task]
    mixed, meant = [*answers, answers[1]], [*labels, labels[0]]
    tally = judge_for(task).tally(mixed, meant)
    if task == "feature-extraction":  # where a row is also in the others' way
        return
    doubled = judge_for(task).tally([*mixed, mixed[2], mixed[0]], [*meant, meant[2], meant[0]])
    assert tally.values(np.array([[2.0, 1.0, 2.0]]))[0] == pytest.approx(value(doubled), abs=1e-9)


# classes

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=30)


@given(LABELS)
def test_accuracy_and_macro_f1_are_scikit_learns(pairs):
    truth, found = [one for one, _ in pairs], [other for _, other in pairs]
    tally = judge_for("text-classification").tally(classes(*found), truth)
    assert value(tally) == pytest.approx(sklearn.accuracy_score(truth, found))
    wanted = sklearn.f1_score(truth, found, average="macro", labels=sorted(set(truth)), zero_division=0)
    assert value(tally.also["f1"]) == pytest.approx(wanted)


def test_several_texts_of_a_row_agree_by_their_share():
    judge = judge_for("text-classification")
    one = {"results": [{"label": "a"}, {"label": "b"}]}
    other = {"results": [{"label": "a"}, {"label": "c"}]}
    assert judge.agreement([one], [other]) == [0.5]
    assert judge.agreement([one], classes("a")) == [0]


def test_only_the_best_label_of_a_picture_counts():
    judge = judge_for("image-classification")
    one = {"results": [{"label": "a", "score": 0.6}, {"label": "b", "score": 0.4}]}
    other = {"results": [{"label": "a", "score": 0.5}, {"label": "c", "score": 0.1}]}
    assert judge.agreement([one], [other]) == [1]


# texts


@given(st.text("ab c", max_size=9), st.text("ab c", max_size=9))
def test_edit_distance_is_that_of_the_table(one, other):
    row = list(range(len(other) + 1))
    for i, item in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (item != theirs))
    assert distance(one, other) == row[-1]


def test_words_are_words_and_chinese_characters():
    assert units("请用 Wi-Fi 打开 app") == ["请", "用", "Wi-Fi", "打", "开", "app"]


def test_character_accuracy_is_over_the_whole_corpus():
    tally = judge_for("image-to-text").tally([{"text": "abcd"}, {"text": "x"}], ["abcd", "yz"])
    assert value(tally) == pytest.approx(1 - 2 / 6)
    assert tally.rows.tolist() == [1, 0]
    assert value(tally.also["word-accuracy"]) == 0.5


def test_words_that_nobody_said_cost():
    judge = judge_for("automatic-speech-recognition")
    tally = judge.tally([{"text": "thank you"}, {"text": ""}], ["", ""])
    assert tally.rows.tolist() == [0, 1]
    assert value(tally) == 0
    assert value(judge.tally([{"text": "a b c d e f"}], ["a"])) == 0  # never below


def test_what_no_sound_tells_does_not_count():
    judge = judge_for("automatic-speech-recognition")
    said = ["ＯＫ，let's go！", "今天 下午 3 点。"]
    assert judge.normal(said[0]) == judge.normal("ok lets GO")
    assert judge.normal(said[1]) == judge.normal("今天下午3点")
    assert judge_for("image-to-text").normal("A,b") != judge_for("image-to-text").normal("a b")


# spans


def spans(*entities):
    return {
        "results": [
            {"entities": [dict(zip(("label", "start", "end", "text"), e, strict=True)) for e in entities]}
        ]
    }


def test_f1_is_over_all_entities():
    answers = [spans(("PER", 0, 2, "李娜"), ("LOC", 3, 5, "上海")), spans(("PER", 0, 1, "李"))]
    labels = [[{"label": "PER", "start": 0, "end": 2}], [{"label": "PER", "start": 0, "end": 2}]]
    tally = judge_for("token-classification").tally(answers, labels)
    assert value(tally) == pytest.approx(2 * 1 / (3 + 2))
    assert value(tally.also["precision"]) == pytest.approx(1 / 3)
    assert value(tally.also["recall"]) == pytest.approx(1 / 2)
    assert tally.rows == pytest.approx([2 / 3, 0])


def test_entities_may_be_told_by_their_text():
    tally = judge_for("token-classification").tally(
        [spans(("PER", 7, 9, "李娜"))], [[{"label": "PER", "text": "李娜"}]]
    )
    assert value(tally) == 1


# vectors


def vectors(array):
    return [{"embeddings": [row.tolist()]} for row in np.asarray(array)]


def test_reciprocal_rank_of_the_first_of_the_group():
    angles = np.deg2rad([0, 10, 20, 90])
    answers = vectors(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    tally = judge_for("feature-extraction").tally(answers, ["a", "b", "a", "c"])
    assert tally.rows == pytest.approx([1 / 2, 1, 1 / 2, 1])  # b and c have no partner, and ask nothing
    assert value(tally) == pytest.approx(1 / 2)


def test_vectors_that_are_all_the_same_find_nothing():
    tally = judge_for("feature-extraction").tally(
        vectors(np.ones((100, 4))), [str(n // 2) for n in range(100)]
    )
    assert value(tally) < 0.03


def test_vectors_that_are_no_numbers_find_nothing():
    judge = judge_for("feature-extraction")
    good = vectors(np.eye(8))
    bad = vectors(np.full((8, 8), np.nan))
    nulls = [{"embeddings": [[None] * 8]} for _ in range(8)]  # as JSON has them
    assert value(judge.tally(bad, list("aabbccdd"))) < 0.3
    assert judge.agreement(bad, good).max() == judge.agreement(nulls, good).max() == 0


def test_a_query_is_looked_for_among_the_right_documents_of_all():
    answers = [{"embeddings": [[1, 0], [0.9, 0.1]]}, {"embeddings": [[0, 1], [1, 0.05]]}]
    tally = judge_for("feature-extraction").tally(answers, [None, None])
    assert tally.rows == pytest.approx([1 / 2, 1 / 2])


def test_a_coarser_vector_keeps_most_neighbours():
    random = np.random.default_rng(0)
    base = random.normal(size=(200, 32))
    judge = judge_for("feature-extraction")
    near = judge.agreement(vectors(base + random.normal(size=base.shape) * 0.02), vectors(base)).mean()
    far = judge.agreement(vectors(base + random.normal(size=base.shape) * 0.5), vectors(base)).mean()
    assert 0.9 < near < 1
    assert far < 0.7


# tensors


def tensors(**outputs):
    return {"outputs": outputs}


def test_the_class_of_a_tensor_is_its_highest_or_itself():
    judge = judge_for("anything-else")
    answers = [
        tensors(y=[[0.1, 0.2, 0.7]]),
        tensors(y=[2]),
        tensors(y=[2.0]),
        tensors(y=np.array([["2"]])),
        {},
    ]
    assert judge.tally(answers, ["2"] * 5).rows.tolist() == [1, 1, 1, 1, 0]


def test_tensors_agree_by_what_stays_of_their_squares():
    judge = judge_for("tensors")
    base = tensors(y=[[3.0, 4.0]])
    assert judge.agreement([tensors(y=[[3.0, 4.5]])], [base]) == pytest.approx([1 - 0.25 / 25])
    assert judge.agreement([tensors(y=[[6.0, 8.0]])], [base]) == [0]
    assert judge.agreement([tensors(y=[[3.0, None]])], [base]) == [0]
    assert judge.agreement([tensors(y=[[3.0]])], [base]) == [0]
    assert judge.agreement([tensors(z=[[3.0, 4.0]])], [base]) == [0]
    assert judge.agreement([tensors(y=[["a", "b"]])], [tensors(y=[["a", "c"]])]) == [0.5]
    assert judge.agreement([tensors(y=[[None, 1.0]])], [tensors(y=[[None, 1.0]])]) == [1]


# numbers


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_spearman_is_scipys(pairs):
    truth, found = [float(one) for one, _ in pairs], [other / 10 for _, other in pairs]
    if len(set(truth)) < 2 or len(set(found)) < 2:
        return
    tally = judge_for("sentence-similarity").tally([{"scores": [score]} for score in found], truth)
    assert value(tally) == pytest.approx(max(0, stats.spearmanr(truth, found).statistic), abs=1e-9)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=3, max_size=30))
def test_r2_is_scikit_learns(pairs):
    truth, found = [one for one, _ in pairs], [other for _, other in pairs]
    if np.ptp(truth) < 1e-3:
        return
    tally = judge_for("tabular-regression").tally([{"results": [{"value": one}]} for one in found], truth)
    wanted = max(0.0, sklearn.r2_score(truth, found))
    assert value(tally) == pytest.approx(wanted, abs=1e-6)


def test_several_targets_are_taken_by_name():
    answers = [{"results": [{"values": {"a": one, "b": -one}}]} for one in (1.0, 2.0, 4.0)]
    labels = [{"b": -one, "a": one} for one in (1.0, 2.0, 4.0)]
    assert value(judge_for("tabular-regression").tally(answers, labels)) == 1


def test_a_number_that_is_none_is_wrong():
    judge = judge_for("tabular-regression")
    answers = [{"results": [{"value": None}]}, {}, {"results": [{"value": 3.0}]}]
    tally = judge.tally(answers, [1.0, 2.0, 3.0])
    assert tally.rows.tolist() == [0, 0, 1]
    assert value(tally) == 0
    assert judge.agreement(answers[1:2], answers[2:]) == [0]


# frames


def test_hundredths_of_a_second_are_counted():
    answers = [{"segments": [{"start": 0.0, "end": 0.5}], "duration": 1.0}, {"segments": [], "duration": 3.0}]
    tally = judge_for("voice-activity-detection").tally(answers, [[[0.25, 0.5]], []])
    assert tally.rows == pytest.approx([0.75, 1])
    assert value(tally) == pytest.approx(375 / 400)
    assert value(tally.also["f1"]) == pytest.approx(2 * 25 / 75)


# boxes


def things(*items):
    return {"regions": [{"label": label, "score": score, "box": list(box)} for label, score, box in items]}


def meant(*items):
    return [{"label": label, "box": list(box)} for label, box in items]


def test_overlap_of_boxes():
    found = overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]]))
    assert found == pytest.approx(np.array([[1 / 7, 1, 0]]))


BOXES = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)]


def test_average_precision_by_hand():
    """Hits at ranks 1 and 3 of three boxes: precision 1 and 2/3 over recall 1/3 and 2/3, and none beyond."""
    answer = things(("a", 0.9, BOXES[0]), ("a", 0.8, (70, 0, 80, 10)), ("a", 0.7, BOXES[1]))
    tally = judge_for("document-layout").tally([answer], [meant(*(("a", box) for box in BOXES))])
    assert value(tally) == pytest.approx((1 + 2 / 3) / 3)


def test_a_box_is_found_once():
    answer = things(("a", 0.9, BOXES[0]), ("a", 0.8, BOXES[0]))
    tally = judge_for("document-layout").tally([answer], [meant(("a", BOXES[0]), ("a", BOXES[1]))])
    assert value(tally) == pytest.approx(1 / 2)


def test_the_mean_is_over_classes_of_the_labels():
    answer = things(("a", 0.9, BOXES[0]), ("c", 0.9, BOXES[2]))
    tally = judge_for("document-layout").tally([answer], [meant(("a", BOXES[0]), ("b", BOXES[1]))])
    assert value(tally) == pytest.approx(1 / 2)


def test_average_precision_is_the_area_below_the_best_precision_beyond():
    """Held against scikit-learn's curve."""
    random = np.random.default_rng(0)
    scores, right = random.random(40), random.random(40) < 0.5
    answers = [
        things(("a", float(s), BOXES[0] if r else BOXES[1])) for s, r in zip(scores, right, strict=True)
    ]
    labels = [meant(("a", BOXES[0])) if r else [] for r in right]
    found = value(judge_for("document-layout").tally(answers, labels))
    precision, recall, _ = sklearn.precision_recall_curve(right, scores)
    best = np.maximum.accumulate(precision)  # recall falls along the curve
    assert found == pytest.approx(-(np.diff(recall) * best[:-1]).sum())


def test_a_box_half_way_off_fails_the_stricter_measure():
    shifted = (1, 0, 11, 10)  # overlap 9 / 11
    tally = judge_for("document-layout").tally([things(("a", 0.9, shifted))], [meant(("a", BOXES[0]))])
    assert value(tally) == 1
    assert value(tally.also["map-50-95"]) == pytest.approx(7 / 10)


def test_boxes_agree_from_three_quarters_of_overlap_on():
    judge, base = judge_for("document-layout"), things(("a", 0.9, BOXES[0]), ("b", 0.5, BOXES[1]))
    other = things(("a", 0.4, (1, 0, 11, 10)), ("b", 0.5, (23, 0, 33, 10)))
    assert judge.agreement([other], [base]) == [0.5]
    assert judge.agreement([things(("b", 0.9, BOXES[0]))], [things(("a", 0.9, BOXES[0]))]) == [0]


# masks


def test_intersection_over_union_by_label():
    top = np.arange(64).reshape(8, 8) < 32
    answer = {"results": [{"label": "a", "mask": mask(LEFT)}, {"label": "b", "mask": mask(RIGHT)}]}
    label = [{"label": "a", "mask": mask(LEFT)}, {"label": "b", "mask": mask(top)}]
    tally = judge_for("image-segmentation").tally([answer], [label])
    assert value(tally) == pytest.approx((1 + 16 / 48) / 2)


def test_a_mask_of_another_size_is_brought_to_the_labels():
    answer = {"results": [{"label": "a", "mask": mask(LEFT.repeat(2, 0).repeat(2, 1))}]}
    assert value(judge_for("image-segmentation").tally([answer], [mask(LEFT)])) == 1


def test_a_mask_may_be_an_array_or_what_is_opaque():
    judge = judge_for("image-segmentation")
    buffer = io.BytesIO()
    layers = np.dstack([np.zeros((8, 8, 3), np.uint8), (LEFT * 255).astype(np.uint8)])
    Image.fromarray(layers).save(buffer, "PNG")
    label = {"base64": base64.b64encode(buffer.getvalue()).decode()}
    for one in (LEFT, LEFT.astype(np.float32), (LEFT * 255).astype(np.uint8), LEFT.tolist()):
        assert value(judge.tally([{"results": [{"label": "a", "mask": one}]}], [label])) == 1
    assert judge.check({"base64": base64.b64encode(b"no picture").decode()}) is not None


# sounds


def test_a_sound_agrees_by_its_spectrum():
    judge = judge_for("text-to-speech")
    same = judge.agreement([sound(300)], [sound(300, rate=16000)])[0]
    longer = judge.agreement([sound(300, 1.25)], [sound(300)])[0]
    other = judge.agreement([sound(900)], [sound(300)])[0]
    assert same == pytest.approx(1)
    assert 0.4 < longer < 0.85
    assert other < 0.5
    assert judge.agreement([{"audio": {"base64": "AAAA"}}], [sound(300)]) == [0]


# all of them

ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda s: st.lists(s, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    task=st.sampled_from(sorted({*JUDGES, "tensors"})),
    label=ANY | st.lists(st.fixed_dictionaries({"label": ANY})),
)
def test_checks_never_raise(task, label):
    judge_for(task).check(label)
