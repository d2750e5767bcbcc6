"""`python -m tests.benchmarks.optimizing.scoring JOB ROLE GRAPH SCRATCH`: a graph's score on the rows to
choose by, as one number, for optimisers that want one."""

import json
import sys
from pathlib import Path

from deployer.optimizer import report as reports
from tests.benchmarks.optimizing import beside
from tests.benchmarks.optimizing.jobs import Finished


def main(job: Path, role: str, graph: Path, scratch: Path) -> float:
    """The metric where there are labels, else the agreement with the model as it came."""
    report = reports.load(job / "report.json")
    assert report is not None
    told = json.loads((job / "finished.json").read_text())
    finished = Finished("", "", 0, job, report, told["seconds"], told["peak"], told["largest"])
    quality = beside.judge(finished, {role: graph}, "choosing", scratch)
    found = quality.score or quality.agreement
    assert found is not None
    return found.value


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
