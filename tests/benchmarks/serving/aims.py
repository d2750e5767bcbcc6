"""The lines of the report, and what is aimed at in each."""

from tests.benchmarks.serving.report import (
    CPU_MS,
    CPU_S,
    CPU_US,
    MB,
    MS,
    RATE,
    TIMES,
    Aim,
    Key,
    Line,
)

_ALONE = "minilm in process"
_LIMIT = Key(_ALONE, "batch 16 cpu")
_PAIR = Key(_ALONE, "batch 16 side by side rate")


def _minilm(figure: str, case: str = "minilm ours") -> Key:
    return Key(case, figure)


def _tiny(figure: str, case: str = "tiny ours") -> Key:
    return Key(case, figure)


MINILM = (
    Line("MiniLM in process, batch 16", _LIMIT, CPU_MS),
    Line(
        "MiniLM in process, batch 16, two threads", Key(_ALONE, "batch 16 side by side cpu"), CPU_MS, _LIMIT
    ),
    Line("MiniLM in process, one by one", Key(_ALONE, "batch 1 cpu"), CPU_MS, _LIMIT),
    Line(
        "MiniLM, 32 at once", _minilm("json 32 cpu"), CPU_MS, _LIMIT, Aim(0.95, at_least=True), inverse=True
    ),
    Line(
        "MiniLM, 64 at once", _minilm("json 64 cpu"), CPU_MS, _LIMIT, Aim(0.95, at_least=True), inverse=True
    ),
    Line("MiniLM, 32 at once, binary", _minilm("binary 32 cpu"), CPU_MS, _LIMIT, inverse=True),
    Line("MiniLM, 32 at once", _minilm("json 32 rate"), RATE, _PAIR, Aim(0.93, at_least=True)),
    Line("MiniLM, 64 at once", _minilm("json 64 rate"), RATE, _PAIR, Aim(0.93, at_least=True)),
    Line("MiniLM, 32 at once, p99 ÷ p50", _minilm("json 32 tail"), TIMES, aim=Aim(1.3)),
    Line("MiniLM, 64 at once, p99 ÷ p50", _minilm("json 64 tail"), TIMES, aim=Aim(1.3)),
    Line("MiniLM, one by one", _minilm("json 1 cpu"), CPU_MS, Key(_ALONE, "batch 1 cpu"), Aim(1.1)),
    Line("MiniLM, one by one, p50", _minilm("json 1 p50"), MS, Key(_ALONE, "batch 1 wall")),
    Line(
        "MiniLM, 32 at once", _minilm("json 32 cpu"), CPU_MS, Key("minilm fastapi", "plain 32 cpu"), Aim(0.66)
    ),
    Line(
        "MiniLM, 32 at once",
        _minilm("json 32 cpu"),
        CPU_MS,
        Key("minilm litserve", "plain 32 cpu"),
        Aim(0.72),
    ),
    Line("MiniLM, 32 at once", _minilm("json 32 cpu"), CPU_MS, Key("minilm triton", "json 32 cpu"), Aim(1.0)),
    Line("MiniLM, 32 at once", _minilm("json 32 cpu"), CPU_MS, Key("minilm mosec", "plain 32 cpu")),
)
TINY = (
    Line("tiny in process, one by one", Key("tiny in process", "batch 1 cpu"), CPU_US),
    Line("tiny, 32 at once", _tiny("json 32 rate"), RATE, Key("tiny mosec", "plain 32 rate"), Aim(1.4, True)),
    Line("tiny, 32 at once, JSON", _tiny("json 32 cpu"), CPU_US, aim=Aim(28)),
    Line("tiny, 32 at once, binary", _tiny("binary 32 cpu"), CPU_US, aim=Aim(20)),
    Line("tiny, 32 at once, JSON, unix socket", Key("tiny ours, unix socket", "json 32 cpu"), CPU_US),
    Line("tiny, 32 at once, JSON", _tiny("json 32 cpu"), CPU_US, Key("tiny mosec", "plain 32 cpu")),
    Line("tiny, one by one, p50", _tiny("json 1 p50"), MS, aim=Aim(0.25)),
    Line("tiny, one by one, p50", _tiny("json 1 p50"), MS, Key("tiny fastapi", "plain 1 p50"), Aim(0.5)),
)
STARTS = (
    Line("MiniLM, first answer", _minilm("start cpu"), CPU_S, aim=Aim(0.3)),
    Line(
        "MiniLM, first answer",
        _minilm("start cpu"),
        CPU_S,
        Key("minilm opened in a bare process", "start cpu"),
    ),
    Line("MiniLM, first answer, graph as it came", Key("minilm ours, graph as it came", "start cpu"), CPU_S),
    Line("MiniLM, memory at its first answer", _minilm("loaded memory"), MB, aim=Aim(110)),
    Line("MiniLM, the same, libraries shared with this benchmark", _minilm("loaded pss"), MB),
    Line("MiniLM, memory after the load", _minilm("used memory"), MB, aim=Aim(110)),
    Line("memory without a model (a graph of 300 bytes)", _tiny("loaded memory"), MB, aim=Aim(60)),
    Line("without a model, libraries shared with this benchmark", _tiny("loaded pss"), MB),
)
LINES = (*MINILM, *TINY, *STARTS)
