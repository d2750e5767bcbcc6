"""The words of the packager's refusals, once a code; see `problem_words`."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "packaging-disk-full": Words(
        507,
        _("The disk is full"),
        _("{path} has no room left."),
        _("Make room or move MARKET_HOME to a larger disk, then retry: what was finished is kept."),
    ),
    "packages-unavailable": Words(
        502,
        _("The packages could not be fetched"),
        _("{why}."),
        _("Check the network or set a mirror for pip, then retry: what was fetched is kept."),
    ),
    "content-corrupted": Words(
        502,
        _("The content is not what its digest says"),
        _("{what} should be {expected} but is {got}."),
        _("Fetch or build it again; nothing of it was kept."),
    ),
    "platform-not-supported": Words(
        422,
        _("Nothing can be made for this platform"),
        _("{platform}: {why}."),
        _("Choose one of: {known}."),
    ),
    "terminal-not-supported": Words(
        422,
        _("This model cannot go there yet"),
        _("{task} for {terminal}: {why}."),
        _("Choose another terminal; the container runs every task."),
    ),
    "registry-error": Words(
        502,
        _("The registry could not be used"),
        _("{reference}."),
        _("Look at the registry's log, then retry: what was sent is not sent again."),
    ),
    "invalid-reference": Words(
        422,
        _("This is no image reference"),
        _("{reference} is not of the form registry/repository:tag."),
        _("Write for example 127.0.0.1:5000/models/zh-sentiment:1.0.0."),
    ),
    "registry-unavailable": Words(
        502,
        _("The registry does not answer"),
        _("{reference}: {why}."),
        _("Check that it runs and can be reached, then retry: what was sent is not sent again."),
    ),
    "registry-refused": Words(
        502,
        _("The registry refused"),
        _("{reference}: {status}, {why}."),
        _("Check the name and the tag; sign in with docker login, or ask for the right to it, then retry."),
    ),
    "verification-failed": Words(
        422,
        _("This package does not hold"),
        _("{subject}, {step}: {why}."),
        _("Do not run it. Fetch it again, or ask who sent it."),
    ),
    "bundle-refused": Words(
        422,
        _("The bundle was refused"),
        _("{file}: {why}."),
        _("Nothing was installed. Make the bundle again, or copy it again."),
    ),
    "unknown-terminal": Words(
        400,
        _("No such terminal"),
        _("{terminal} is not one of: {known}."),
        _("Choose one of these."),
    ),
    "unknown-package": Words(
        404,
        _("No such package"),
        _("Nothing was packaged under {id}."),
        _("Package it on the listing's page, or with: market package vendor/name."),
    ),
    "package-busy": Words(
        409,
        _("The package is in another state"),
        _("It is {state}; this needs {wanted}."),
        _("Wait until it ends, or cancel it first."),
    ),
    "package-gone": Words(
        409,
        _("There is no file to hand out"),
        _("The package is {state}, and its file is not there."),
        _("Package it again: what was made before is not made twice."),
    ),
    "packaging-cancelled": Words(
        409,
        _("The packaging was cancelled"),
        _("Somebody asked it to stop."),
        _("Begin again when you want it."),
    ),
}
