"""Transcripts in the forms that OpenAI's clients ask for: JSON, plain text, and subtitles."""

from collections.abc import Callable
from typing import Any

from deployer.server.http import Response, json_response


def _json(found: Any, task: str) -> Response:
    return json_response({"text": found.text})


def _verbose(found: Any, task: str) -> Response:
    segments = [
        {"id": number, "start": one.start, "end": one.end, "text": one.text}
        for number, one in enumerate(found.segments)
    ]
    facts = {"task": task, "language": found.language, "duration": found.duration, "text": found.text}
    return json_response({**facts, "segments": segments})


def _text(found: Any, task: str) -> Response:
    return Response(f"{found.text}\n".encode(), content_type="text/plain; charset=utf-8")


def _srt(found: Any, task: str) -> Response:
    cues = [
        f"{number}\n{_time(one.start, ',')} --> {_time(one.end, ',')}\n{one.text.strip()}\n"
        for number, one in enumerate(found.segments, 1)
    ]
    return Response("\n".join(cues).encode(), content_type="text/plain; charset=utf-8")


def _vtt(found: Any, task: str) -> Response:
    spans = [
        (f"{_time(one.start, '.')} --> {_time(one.end, '.')}", one.text.strip()) for one in found.segments
    ]
    cues = [f"{span}\n{text}\n" for span, text in spans]
    return Response("\n".join(["WEBVTT\n", *cues]).encode(), content_type="text/vtt; charset=utf-8")


def _time(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and thousandths, as 00:01:02,345."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


FORMS: dict[str, Callable[[Any, str], Response]] = {
    "json": _json,
    "text": _text,
    "srt": _srt,
    "verbose_json": _verbose,
    "vtt": _vtt,
}
