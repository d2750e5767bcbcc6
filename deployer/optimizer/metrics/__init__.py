"""Judges: how right a model's answers are, by the labels of a person's rows or by the full model's answers.

Every task of the server has a judge. It names one metric between 0 and 1, where more is better, tallies
answers against labels, and says row by row how far a variant's answers agree with the full model's.
"""

from deployer.optimizer.metrics.boxes import LayoutJudge, ObjectJudge
from deployer.optimizer.metrics.classes import FileTypeJudge, RankedJudge, ResultsJudge
from deployer.optimizer.metrics.frames import SpeechJudge
from deployer.optimizer.metrics.judge import Expected, Judge
from deployer.optimizer.metrics.masks import MaskJudge
from deployer.optimizer.metrics.numbers import NumberJudge, SimilarityJudge
from deployer.optimizer.metrics.sounds import VoiceJudge
from deployer.optimizer.metrics.spans import SpanJudge
from deployer.optimizer.metrics.tally import Floats, Tally, value
from deployer.optimizer.metrics.tensors import TensorJudge
from deployer.optimizer.metrics.texts import ReadingJudge, TranscriptJudge
from deployer.optimizer.metrics.vectors import VectorJudge

__all__ = ["JUDGES", "Expected", "Floats", "Judge", "Tally", "judge_for", "value"]

JUDGES: dict[str, Judge] = {
    "automatic-speech-recognition": TranscriptJudge(),
    "document-layout": LayoutJudge(),
    "feature-extraction": VectorJudge(),
    "file-type": FileTypeJudge(),
    "image-classification": RankedJudge(),
    "image-segmentation": MaskJudge(),
    "image-to-text": ReadingJudge(),
    "object-detection": ObjectJudge(),
    "sentence-similarity": SimilarityJudge(),
    "tabular-classification": ResultsJudge(),
    "tabular-regression": NumberJudge(),
    "text-classification": ResultsJudge(),
    "text-to-speech": VoiceJudge(),
    "token-classification": SpanJudge(),
    "voice-activity-detection": SpeechJudge(),
}


def judge_for(task: str) -> Judge:
    """The judge of a task; one without a pipeline is served as tensors, and judged so."""
    return JUDGES.get(task) or TensorJudge()
