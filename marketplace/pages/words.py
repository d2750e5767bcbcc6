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
    "running": "◐",
    "picked": "◆",
    "kept": "●",
    "refused": "▲",
    "cancelled": "○",
    "ready": "●",
    # of a version, and of a check
    "draft": "○",
    "submitted": "◐",
    "listed": "●",
    "rejected": "✕",
    "deprecated": "▲",
    "yanked": "✕",
    "waiting": "○",
    "pass": "●",
    "warn": "▲",
    "fail": "✕",
    "unknown": "◌",
}
TONES = {
    "live": "ok",
    "ready": "ok",
    "listed": "ok",
    "submitted": "busy",
    "rejected": "bad",
    "deprecated": "warn",
    "yanked": "bad",
    "pass": "ok",
    "warn": "warn",
    "fail": "bad",
    "unknown": "warn",
    "degraded": "warn",
    "failed": "bad",
    "running": "busy",
    "picked": "ok",
    "kept": "ok",
    "refused": "warn",
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
    "running": _("Running"),
    "picked": _("Variant found"),
    "kept": _("Best as it came"),
    "refused": _("Nothing held"),
    "cancelled": _("Cancelled"),
    "ready": _("Ready"),
    "draft": _("Draft"),
    "submitted": _("Submitted"),
    "listed": _("Listed"),
    "rejected": _("Rejected"),
    "deprecated": _("Deprecated"),
    "yanked": _("Yanked"),
    "waiting": _("Waiting"),
    "pass": _("Passed"),
    "warn": _("Look at this"),
    "fail": _("Does not pass"),
    "unknown": _("Unknown"),
}
STEPS = {
    "fetch": _("Fetch files"),
    "prepare": _("Check and lay out"),
    "package": _("Package for the runtime"),
    "start": _("Start server"),
    "health": _("Health check"),
    "warm-up": _("Warm up"),
    # of an optimisation
    "inspect": _("Look at the graphs"),
    "baseline": _("Measure it as it came"),
    "build": _("Make variants"),
    "screen": _("Drop what answers wrong"),
    "measure": _("Measure speed side by side"),
    "judge": _("Judge on rows kept back"),
    "confirm": _("Check on the target"),
    "certify": _("Sign the certificate"),
    # of a package
    "assemble": _("Put it together"),
    "prove": _("Sign it and list its parts"),
    "write": _("Write the file"),
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
    "image-segmentation": "image",
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
# Optimisation: what to search for, in words that need no engineer.
OBJECTIVES = {
    "fastest": (_("Fastest"), _("Answers soonest: for pages and calls that somebody waits for.")),
    "smallest": (_("Smallest"), _("Takes the least room: for small disks, phones and slow downloads.")),
    "cheapest": (_("Cheapest"), _("Least machine time a request: for much work at once.")),
}
# What a look says of this machine's memory.
FITS = {
    "fits": _("has room for it"),
    "tight": _("has just room for it"),
    "too-large": _("has too little memory"),
}
GRADES = {
    "measured": (_("measured"), "●"),
    "emulated": (_("emulated"), "◐"),
    "checked": (_("checked only"), "○"),
}
# What a grade promises of a package, and the platforms of images.
GRADE_MEANINGS = {
    "measured": _("It ran here on the device itself, and its answers were compared."),
    "emulated": _("It ran here in emulation: its answers were compared, its speed was not."),
    "checked": _("Only its form was checked; nobody here has run it on the device."),
}
PLATFORMS = {
    "linux/amd64": _("x86-64 (most servers and PCs)"),
    "linux/arm64": _("ARM64 (Raspberry Pi, Kunpeng, Apple)"),
}
TRIAL_STATES = {
    "waiting": _("waits"),
    "building": _("being made"),
    "built": _("made"),
    "screened": _("screened"),
    "measured": _("timed"),
    "passed": _("holds the bound"),
    "picked": _("picked"),
    "refused": _("refused"),
}
TRIAL_SHAPES = {
    "waiting": "○",
    "building": "◐",
    "built": "◐",
    "screened": "◐",
    "measured": "◐",
    "passed": "●",
    "picked": "◆",
    "refused": "✕",
}
METRICS = {
    "accuracy": _("accuracy"),
    "f1": _("F1"),
    "character-accuracy": _("character accuracy"),
    "word-accuracy": _("word accuracy"),
    "map": _("mAP"),
    "mrr": _("MRR"),
    "r2": _("R²"),
    "spearman": _("rank correlation"),
    "iou": _("IoU"),
    "frame-accuracy": _("accuracy by frames"),
    "spectral-agreement": _("agreement of sound"),
}
RECIPES = {
    "slim": _("clean graph (onnxslim)"),
    "ort-basic": _("ORT basic optimisations"),
    "ort-extended": _("ORT extended optimisations"),
    "ort-all": _("all ORT optimisations (this host only)"),
    "host-prepacked": _("prepacked weights (this host only)"),
    "fuse-operators": _("fused operators"),
    "fuse-transformer": _("transformer fusions"),
    "fp16": _("fp16"),
    "fp16-mixed": _("mixed fp16 and fp32"),
    "weights-fp16": _("weights stored in fp16"),
    "weights-int8": _("weights stored in int8"),
    "dynamic-int8": _("dynamic int8, per tensor"),
    "dynamic-int8-per-channel": _("dynamic int8, per channel"),
    "dynamic-int8-reduced": _("dynamic int8, per channel, 7 bits"),
    "dynamic-int8-matmul": _("dynamic int8, matrix products only"),
    "dynamic-int8-embeddings": _("dynamic int8 with embeddings"),
    "static-int8-minmax": _("static int8, least to largest"),
    "static-int8-percentile": _("static int8, percentile"),
    "static-int8-entropy": _("static int8, entropy"),
    "static-int8-least-error": _("static int8, least error"),
    "static-int8-per-tensor": _("static int8, per tensor"),
    "static-int8-flow": _("static int8, integers throughout, percentile"),
    "static-int8-flow-minmax": _("static int8, integers throughout, least to largest"),
    "static-int8-flow-least-error": _("static int8, integers throughout, least error"),
    "static-int8-all": _("static int8, all operators"),
    "int4-blocks-32": _("int4 weights in blocks of 32"),
    "int4-blocks-128": _("int4 weights in blocks of 128"),
    "int8-blocks-32": _("int8 weights in blocks of 32"),
    "int8-blocks-128": _("int8 weights in blocks of 128"),
}
# Columns of a file of one's own rows, by task; tables have their own.
DATA_COLUMNS = {
    "automatic-speech-recognition": ("audio", "label"),
    "document-layout": ("image", "label"),
    "feature-extraction": ("text", "positive"),
    "file-type": ("file", "label"),
    "image-classification": ("image", "label"),
    "image-segmentation": ("image", "label"),
    "image-to-text": ("image", "label"),
    "object-detection": ("image", "label"),
    "sentence-similarity": ("source", "sentences", "label"),
    "text-classification": ("text", "label"),
    "text-to-speech": ("text",),
    "token-classification": ("text", "label"),
    "voice-activity-detection": ("audio", "label"),
}
# The rows of the table of before and after.
CHANGES = {
    "size": _("Size of the graphs"),
    "row": _("CPU time of one row, one thread"),
    "score": _("Score on rows kept back"),
    "agreement": _("Same answer as before"),
    "p50": _("Latency, median"),
    "p95": _("Latency, 95th percentile"),
    "throughput": _("Requests a second"),
    "memory": _("Memory"),
    "cold-start": _("Cold start"),
}
# How a vendor's name was proved.
PROOFS = {
    "dns": _("proved by a DNS record of {domain}"),
    "file": _("proved by a file on {domain}"),
    "operator": _("vouched for by an operator"),
    "": _("proved"),
}
# How far the checks of a version are, in short.
CHECK_STATES = {
    "": _("not checked yet"),
    "waiting": _("checks wait"),
    "running": _("being checked"),
    "passed": _("checks passed"),
    "failed": _("checks did not pass"),
}
# Texts of the catalogue's and the runtimes' own values that pages compose.
ROLES = {"opc": _("OPC"), "operator": _("Operator"), "vendor": _("Vendor")}


def field_of(task: str) -> str:
    """The field of a task's request; tasks without one take the JSON body itself."""
    return FIELDS.get(task, "body")
