"""Words and shapes of the pages: states, steps and fields, one place each."""

from marketplace.i18n import mark as _

# A state is a word and a shape, never a colour alone.
SHAPES = {
    "live": "●",
    "pending": "◐",
    "building": "◐",
    "starting": "◐",
    "updating": "◐",
    "stopping": "◐",
    "sleeping": "○",
    "stopped": "○",
    "degraded": "▲",
    "failed": "✕",
}
TONES = {
    "live": "ok",
    "degraded": "warn",
    "failed": "bad",
    "pending": "busy",
    "building": "busy",
    "starting": "busy",
    "updating": "busy",
    "stopping": "busy",
}
STATES = {
    "pending": _("Waiting"),
    "building": _("Building"),
    "starting": _("Starting"),
    "live": _("Live"),
    "degraded": _("Degraded"),
    "updating": _("Updating"),
    "sleeping": _("Sleeping"),
    "stopping": _("Stopping"),
    "stopped": _("Stopped"),
    "failed": _("Failed"),
}
STEPS = {
    "fetch": _("Fetch files"),
    "prepare": _("Check and lay out"),
    "package": _("Package for the runtime"),
    "start": _("Start server"),
    "health": _("Health check"),
    "warm-up": _("Warm up"),
}
STEP_SHAPES = {"waiting": "○", "running": "◐", "done": "●", "failed": "✕"}
STEP_STATES = {
    "waiting": _("Waiting"),
    "running": _("Running"),
    "done": _("Done"),
    "failed": _("Failed"),
}
VERSION_STATES = {
    "draft": _("Draft"),
    "submitted": _("Submitted"),
    "listed": _("Listed"),
    "rejected": _("Rejected"),
    "deprecated": _("Deprecated"),
    "yanked": _("Yanked"),
}
SHELF_STATES = {
    "waiting": _("Waiting"),
    "fetching": _("Fetching"),
    "building": _("Building"),
    "ready": _("Ready"),
    "failed": _("Failed"),
}
RUNTIMES = {
    "process": (_("Process"), _("A process of this machine in a sandbox; nothing to set up.")),
    "docker": (_("Docker"), _("A container without network, from this machine's engine.")),
}
SANDBOXES = {
    "full": _("Full: no files of yours, no network"),
    "partial": _("Partial: this machine cannot enforce all of it"),
    "none": _("None: this machine cannot enforce any"),
}
TRANSPORTS = {
    "unix": _("Unix socket, no open port"),
    "tcp": _("TCP on this machine, the server checks a key"),
}
STEP_FACTS = {
    "bytes": _("Size"),
    "fetched": _("Fetched again"),
    "files": _("Files"),
    "runtime": _("Runtime"),
    "transport": _("Transport"),
    "sandbox": _("Sandbox"),
    "ready_after": _("Ready after"),
    "example": _("Example"),
    "milliseconds": _("Answer in ms"),
    "why": _("Differences"),
}
# What of its answer a warm-up says.
EXAMPLES = {
    "right": _("answered as expected"),
    "wrong": _("answered differently than expected"),
    "none": _("has no example"),
}
# The field of /predict that a person fills in, by task.
FIELDS = {
    "automatic-speech-recognition": "audio",
    "feature-extraction": "text",
    "text-classification": "text",
    "token-classification": "text",
    "image-classification": "image",
    "document-layout": "image",
    "object-detection": "image",
    "text-to-speech": "text",
    "image-to-text": "image",
    "voice-activity-detection": "audio",
    "file-type": "file",
}
# OpenAI's route for a task, where there is one.
OPENAI_ROUTES = {
    "automatic-speech-recognition": "/v1/audio/transcriptions",
    "feature-extraction": "/v1/embeddings",
    "sentence-similarity": "/v1/embeddings",
    "text-to-speech": "/v1/audio/speech",
}
# Tasks that answer several texts at once; a line of the text area is a text.
MANY_TEXTS = frozenset({"feature-extraction", "text-classification"})
FIELD_TITLES = {
    "text": _("Text"),
    "image": _("Image"),
    "audio": _("Recording (WAV)"),
    "file": _("File"),
    "body": _("Request (JSON)"),
}
FIELD_HINTS = {
    "text": _("One paragraph."),
    "lines": _("One text a line; several lines are answered one by one."),
    "image": _("PNG, JPEG or WebP."),
    "audio": _("A WAV file with speech, of any sampling rate."),
    "file": _("Any file; its content is looked at, not its name."),
    "body": _("What is sent to /predict."),
}
ACCEPTS = {"image": "image/png,image/jpeg,image/webp", "audio": "audio/wav,audio/x-wav,.wav", "file": ""}
SAMPLE_FILES = {"image": "photo.jpg", "audio": "speech.wav", "file": "unknown.bin"}
LABELS = {
    "PER": _("Person"),
    "LOC": _("Place"),
    "ORG": _("Organisation"),
    "TIME": _("Time"),
    "positive": _("Positive"),
    "negative": _("Negative"),
}
# The five facts of a listing's tag, in their order, and how each is measured.
FACTS = {
    "fit": (_("Fit"), _("Accuracy on your own examples, beside that of the unoptimised model.")),
    "latency": (_("Latency"), _("Median and 95th percentile of single requests on a named device.")),
    "price": (_("¥ per 1,000"), _("Time on the device × its price, for one thousand requests.")),
    "licence": (_("Licence"), ""),
    "certificate": (
        _("Certificate"),
        _("Accuracy and speed before and after optimisation, signed, with the command that repeats it."),
    ),
}
# Texts of the catalogue's and the runtimes' own values that pages compose.
ROLES = {"opc": _("OPC"), "operator": _("Operator"), "vendor": _("Vendor")}


def field_of(task: str) -> str:
    """The field of a task's request; tasks without one take the JSON body itself."""
    return FIELDS.get(task, "body")
