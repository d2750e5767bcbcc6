"""sentencepiece models: pieces with scores, and settings; a protocol buffer without surprises."""

from catalog.scan.findings import Refused, Report
from catalog.scan.protobuf import BYTES, FOUR, VARINT, Budget, Malformed, fields
from catalog.scan.source import Source

LARGEST = 64 << 20
MOST_FIELDS = 4_000_000
LONGEST_PIECE = 4096
_TOP = {1: "piece", 2: "trainer", 3: "normalizer", 4: "self-test", 5: "denormalizer"}
_PIECE = {1: BYTES, 2: FOUR, 3: VARINT}


def check(source: Source, report: Report) -> None:
    """Refuse what is not a list of pieces with its settings."""
    data = source.whole(LARGEST)
    budget = Budget(MOST_FIELDS, "text", source.name)
    pieces = 0
    try:
        for number, wire, start, end in fields(data, 0, len(data), budget):
            if number not in _TOP or wire != BYTES:
                raise Malformed(start)
            if number == 1:
                pieces += 1
                _check_piece(data, start, end, budget)
            else:
                for _ in fields(data, start, end, budget):
                    pass
    except Malformed as error:
        raise Refused("text-sentencepiece", place=error.place) from None
    if not pieces:
        raise Refused("text-sentencepiece", place=0)
    report.facts["pieces"] = pieces


def _check_piece(data: bytes, start: int, end: int, budget: Budget) -> None:
    for number, wire, a, b in fields(data, start, end, budget):
        if _PIECE.get(number) != wire or (number == 1 and b - a > LONGEST_PIECE):
            raise Malformed(start)
