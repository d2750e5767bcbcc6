"""The serving benchmark's own arithmetic, its client and its models, and one real turn of a server."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.benchmarks.serving import mixup, models, soak
from tests.benchmarks.serving.load import Load, drive, read_head
from tests.benchmarks.serving.measure import Level, Work, full_turns, in_process, turn
from tests.benchmarks.serving.models import Graph
from tests.benchmarks.serving.report import (
    CPU_MS,
    RATE,
    Aim,
    Key,
    Line,
    beside,
    measured,
    median,
    ratio,
    table,
)
from tests.benchmarks.serving.servers import Server, cpu_clock, memory, ours, serving
from tests.benchmarks.serving.wires import BINARY, JSON, Check, Wire, error, plain

FOUND = {
    "slow": [{"cpu": 2.0, "rate": 5.0}, {"cpu": 20.0, "rate": 1.0}, {"cpu": 3.0, "rate": 6.0}],
    "fast": [{"cpu": 1.0, "rate": 10.0}, {"cpu": 10.0, "rate": 4.0}, {"cpu": 1.0, "rate": 9.0}],
}
SLOW, FAST = Key("slow", "cpu"), Key("fast", "cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return models.tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def server(tiny: Graph) -> Iterator[Server]:
    with serving(ours(), tiny, JSON.request(tiny.feeds([(1, 1)], seed=0)[0])) as started:
        yield started


def test_ratios_are_medians_of_rounds() -> None:
    assert median(FOUND, SLOW) == 3
    assert ratio(FOUND, SLOW, FAST) == 2
    assert ratio(FOUND, FAST, SLOW) == 0.5


def test_an_aim_is_for_the_ratio_where_there_is_one() -> None:
    assert measured(FOUND, Line("", SLOW, CPU_MS, FAST, Aim(2))).kept is True
    assert measured(FOUND, Line("", SLOW, CPU_MS, FAST, Aim(1.9))).kept is False
    assert measured(FOUND, Line("", SLOW, CPU_MS, aim=Aim(2999))).kept is False
    assert measured(FOUND, Line("", SLOW, CPU_MS, aim=Aim(3000))).kept is True
    assert measured(FOUND, Line("", SLOW, CPU_MS, FAST)).kept is None


def test_higher_is_better_where_it_is_said() -> None:
    rate, other = Key("slow", "rate"), Key("fast", "rate")
    assert measured(FOUND, Line("", rate, RATE, other, Aim(0.5, at_least=True))).kept is True
    assert measured(FOUND, Line("", rate, RATE, other, Aim(0.6, at_least=True))).kept is False
    inverse = measured(FOUND, Line("", SLOW, CPU_MS, FAST, Aim(0.4, at_least=True), inverse=True))
    assert (inverse.ratio, inverse.kept, inverse.to) == (0.5, True, "fast ÷ it")


def test_what_was_not_measured_misses_no_aim() -> None:
    absent = Key("nobody", "cpu")
    row = measured(FOUND, Line("", SLOW, CPU_MS, absent, Aim(1)))
    assert (row.value, row.ratio, row.kept) == (3000, None, None)
    assert measured(FOUND, Line("", absent, CPU_MS, SLOW, Aim(1))).told == "not measured"


def test_the_report_marks_what_is_missed() -> None:
    lines = [Line("kept", SLOW, CPU_MS, FAST, Aim(2)), Line("missed", SLOW, CPU_MS, FAST, Aim(1))]
    text = table([measured(FOUND, line) for line in lines]).splitlines()
    assert text[1].split() == ["kept", "3,000.00", "ms", "CPU", "2.00", "÷", "fast", "≤", "2", "ok"]
    assert text[2].endswith("MISSED")
    found = {"tiny ours": [{"json 32 rate": 12.0, "json 32 cpu": 1e-6}]}
    assert beside(found, "tiny", {"ours": "json", "absent": "json"}).splitlines()[1].split() == [
        *("ours", "1.0", "µs", "CPU", "12", "/s")
    ]


def test_the_ramps_of_a_run_do_not_count() -> None:
    load = Load(2, moments=[9, 10, 11, 12, 13, 14, 15, 50], latencies=[99, 99, 1, 2, 3, 4, 99, 99])
    assert load.rate == 1
    assert load.latency(50) == 2.5
    short = Load(4, moments=[0, 1, 2, 3, 4], latencies=[9, 1, 1, 1, 1])
    assert (short.rate, short.latency(50)) == (1, 1)


def test_a_run_is_the_same_for_every_connection() -> None:
    assert full_turns(1000, 32) == 992
    assert full_turns(3, 32) == 192


def test_growth_is_told_from_the_warm_up_on() -> None:
    def pieces(*memory: float) -> soak.Soak:
        return soak.Soak([soak.Piece(10, one, 1.0, 0, 0) for one in memory])

    assert pieces(50, 100, 101, 102).growth == pytest.approx(0.02)
    assert pieces(50, 100, 101, 102).kept
    assert not pieces(50, 100, 104).kept
    assert pieces(50).growth == 0
    assert not soak.Soak([soak.Piece(10, 1.0, 1.0, errors=1, wrong=0)]).kept


@pytest.mark.parametrize("wire", [JSON, BINARY, plain("/predict")])
def test_requests_say_what_they_carry(tiny: Graph, wire: Wire) -> None:
    feed = tiny.feeds([(1, 1)], seed=3)[0]
    head, _, body = wire.request(feed).partition(b"\r\n\r\n")
    assert head.startswith(f"POST {wire.path} HTTP/1.1\r\n".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    numbers = ",".join(f"{value:g}" for value in feed["x"][0].tolist())
    assert feed["x"].tobytes() in body or numbers in body.replace(b".0", b"").decode()


def test_heads_are_read() -> None:
    assert read_head(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12") == (12, True)
    assert read_head(b"HTTP/1.1 429 Busy\r\nA: b\r\nContent-Length:0") == (0, False)
    with pytest.raises(RuntimeError, match="Content-Length"):
        read_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


def test_feeds_differ_and_answers_come_in_their_order(tiny: Graph) -> None:
    feeds = tiny.feeds([(1, 8), (3, 8), (1, 8)], seed=1)
    found = tiny.answers(feeds)
    assert [answer.shape for answer in found] == [(1, 3), (3, 3), (1, 3)]
    assert not np.allclose(found[0], found[2])
    session = tiny.session()
    for feed, answer in zip(feeds, found, strict=True):
        assert np.allclose(session.run(None, feed)[0], answer, atol=1e-6)


@pytest.mark.network
def test_the_vector_is_pooled_and_of_length_one(tmp_path: Path) -> None:
    graph = models.minilm(tmp_path / "minilm")
    feed = graph.feeds([(2, 8)], seed=1)[0]
    padded = {name: np.pad(tensor, ((0, 0), (0, 3))) for name, tensor in feed.items()}
    vector, same = graph.answers([feed, padded])
    assert vector.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-5)
    assert np.allclose(vector, same, atol=1e-5)


def test_another_answer_is_wrong(tiny: Graph) -> None:
    def answer(rows: np.ndarray) -> bytes:
        body = f'{{"probabilities":{rows[0].tolist()}}}'.encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    one, two = tiny.answers(tiny.feeds([(1, 1)] * 2, seed=5))
    assert error(answer(one), one, tiny) < 1e-7
    assert Check.of({0: answer(one), 1: answer(two)}, [one, two], tiny).wrong == 0
    swapped = Check.of({0: answer(two), 1: answer(one)}, [one, two], tiny)
    assert (swapped.seen, swapped.wrong) == (2, 2)
    assert error(answer(one), np.zeros((2, 3), np.float32), tiny) == float("inf")
    assert error(answer(one).replace(b"0.", b"NaN, 0.", 1), one, tiny) == float("inf")


@pytest.mark.parametrize("wire", [JSON, BINARY])
def test_the_client_brings_each_answer_to_its_request(server: Server, tiny: Graph, wire: Wire) -> None:
    feeds = tiny.feeds([(1 + number % 3, 1) for number in range(50)], seed=2)
    load = drive(server.address, [wire.request(feed) for feed in feeds], 200, 8, keep_every=1).checked()
    check = Check.of(load.answers, tiny.answers(feeds), tiny)
    assert (check.seen, check.wrong) == (200, 0)
    assert len(load.moments) == len(load.latencies) == 200
    assert load.moments == sorted(load.moments)
    assert min(load.latencies) > 0 and load.client > 0


def test_a_refusal_is_an_error_and_is_told(server: Server, tiny: Graph) -> None:
    good, bad = JSON.request(tiny.feeds([(1, 1)], seed=2)[0]), plain("/nowhere").request({})
    load = drive(server.address, [good, bad], 20, 4, keep_every=1)
    assert (load.errors, len(load.answers)) == (10, 10)
    with pytest.raises(RuntimeError, match="10 of 20"):
        load.checked()


def test_a_turn_gives_its_figures_and_leaves_nothing(tiny: Graph) -> None:
    before = psutil.Process().children(recursive=True)
    work = Work.of(tiny, seconds=0.1)
    figures = turn(ours(), work, [Level(JSON, 4)]) | in_process(work)
    assert all(value > 0 for name, value in figures.items() if not name.endswith("error"))
    assert figures["json 4 error"] <= models.TOLERANCE
    assert figures["json 4 tail"] >= 1
    assert psutil.Process().children(recursive=True) == before


def test_a_server_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    nothing = Graph("nothing", tmp_path, "none")
    with pytest.raises(RuntimeError, match=r"manifest\.json"), serving(ours(), nothing, b""):
        pass


def test_answers_do_not_get_mixed_up(tiny: Graph) -> None:
    mixed = mixup.run(tiny, tiny, 500)
    assert mixed.good, mixed.text()


def test_cpu_and_memory_of_this_process_are_counted() -> None:
    before = cpu_clock([os.getpid()])
    began = time.process_time()
    sum(number * number for number in range(300_000))
    spent = time.process_time() - began
    assert cpu_clock([os.getpid()]) - before >= spent
    assert 0 < memory([os.getpid()]) <= psutil.Process().memory_info().rss * 1.01


def test_what_is_shared_with_this_process_counts_in_full(server: Server) -> None:
    told = psutil.Process(server.process.pid).memory_full_info()
    assert told.pss < memory(server.pids) <= told.rss * 1.01
