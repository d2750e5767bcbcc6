"""The words of every named refusal, once a code: HTTP status, what happened, why, and the one next step.

Texts are marked in English and translated in web/locale; {facts} are those that the error carries.
"""

from typing import NamedTuple

from marketplace.i18n import mark as _


class Words(NamedTuple):
    """What a code means: HTTP status, title, cause and next step; {facts} are filled in."""

    status: int
    title: str
    cause: str
    next: str


WORDS: dict[str, Words] = {
    # catalogue
    "unknown-listing": Words(
        404,
        _("No such listing"),
        _("Nothing on the shelf is called {name}."),
        _("Search for what it does; names are vendor/name."),
    ),
    "unknown-version": Words(
        404,
        _("No such version"),
        _("{name} has no version {version}."),
        _("Leave the version out to take the newest one."),
    ),
    "unknown-task": Words(
        400,
        _("No such task"),
        _("{task} is not a task of the catalogue."),
        _("Choose one of the listed tasks."),
    ),
    "invalid-manifest": Words(
        422,
        _("The manifest does not hold together"),
        _("At {path}: {why}."),
        _("Correct this place and publish again."),
    ),
    "version-taken": Words(
        409,
        _("The version is already there"),
        _("{name} {version} exists with other content."),
        _("Publish under a new number: versions are not changed."),
    ),
    "archive-invalid": Words(
        502,
        _("The archive cannot be read"),
        _("{source}: {why}."),
        _("Fetch it from where it is whole; one of your own: pack it anew with plain relative names."),
    ),
    "blob-missing": Words(
        409,
        _("A file is missing"),
        _("The store has no file {path}."),
        _("Import the version again, then retry."),
    ),
    "blob-corrupted": Words(
        409,
        _("A file is damaged"),
        _("The stored file {path} no longer has its checksum."),
        _("Retry: the file is fetched again. If it happens twice, check the disk."),
    ),
    "storage-full": Words(
        507,
        _("The disk is full"),
        _("{path} needs {needed} bytes and has {free} free."),
        _("Free some room or move MARKET_HOME to a larger disk, then retry."),
    ),
    "fetch-failed": Words(
        502,
        _("A file could not be fetched"),
        _("{source} did not give it."),
        _("Check the network, then retry."),
    ),
    "source-unreachable": Words(
        502,
        _("The source does not answer"),
        _("{source}: {why}."),
        _("Check the address and the network (or pip's and npm's mirror), then retry; what came is kept."),
    ),
    "source-missing": Words(
        502,
        _("The source does not have the file"),
        _("{source} answers, but has no {file}."),
        _("Check the address, name and version; of a mirror, whether it is complete. Then retry."),
    ),
    "digest-mismatch": Words(
        502,
        _("The fetched file is not the expected one"),
        _("{file} from {source} has another checksum than the one on record."),
        _("Retry; if it happens again, the source is not to be trusted: choose another mirror."),
    ),
    "build-failed": Words(
        422,
        _("The model could not be built"),
        _("{entry}: {why}."),
        _("Read the shop's log, then retry."),
    ),
    "signature-invalid": Words(
        409,
        _("The signature does not hold"),
        _("{digest}: {why}."),
        _("Do not run these files: fetch the version again from where it came."),
    ),
    # deployer
    "unknown-deployment": Words(
        404,
        _("No such deployment"),
        _("Nothing is deployed under the name {name}."),
        _("See all deployments with: market ps"),
    ),
    "deployment-exists": Words(
        409,
        _("The name is taken"),
        _("A deployment called {name} is {state}."),
        _("Choose another name (--name), or stop this one first: market stop {name}"),
    ),
    "invalid-name": Words(
        400,
        _("This name cannot be used"),
        _("{name} is not a name of small letters, digits and hyphens, 48 at most."),
        _("Choose a name such as invoice-reader."),
    ),
    "invalid-state": Words(
        409,
        _("Not in this state"),
        _("The deployment {name} is {state}; this needs it to be {wanted}."),
        _("Look at its page or at market ps, and wait, start or stop it first."),
    ),
    "unknown-runtime": Words(
        400, _("No such runtime"), _("{runtime} is not one of: {known}."), _("Choose one of these.")
    ),
    "unknown-device": Words(
        400, _("No such device"), _("{device} is not one of: {known}."), _("Choose one of these.")
    ),
    "device-not-served": Words(
        409,
        _("Nothing can be deployed to this device"),
        _("A model can be optimised for {device}, but deployed to {known} only."),
        _("Take the variant's files along, or deploy to one of these."),
    ),
    "runtime-unavailable": Words(
        503,
        _("The runtime does not answer"),
        _("{runtime}: {why}."),
        _("See market doctor for how to get it; to deploy without it: --runtime process."),
    ),
    "conversion-failed": Words(
        422,
        _("The model could not be converted"),
        _("{source}: {why}."),
        _("Choose a model of a supported family."),
    ),
    "packaging-failed": Words(
        500,
        _("The runtime image could not be made"),
        _("{image}: {why}."),
        _("See market doctor for what is missing, then retry."),
    ),
    "replica-error": Words(
        502, _("The server has a fault"), _("Replica {replica}."), _("Read its log, then retry.")
    ),
    "start-failed": Words(
        502,
        _("The server ended before it was ready"),
        _("It ended with: {exit}. Last lines of its log: {log}"),
        _("Read the whole log, then retry."),
    ),
    "not-ready": Words(
        504,
        _("The server was not ready in time"),
        _("Nothing after {seconds} seconds. Last lines of its log: {log}"),
        _("Give it longer with MARKET_START_TIMEOUT, or read the log, then retry."),
    ),
    "memory-exceeded": Words(
        507,
        _("The server needed too much memory"),
        _("It was stopped at {used} of {limit} bytes."),
        _("Raise MARKET_REPLICA_MEMORY or choose a smaller variant, then retry."),
    ),
    "replica-unreachable": Words(
        502,
        _("The server did not answer"),
        _("Replica {replica}: {why}."),
        _("Try again in a moment: a server that ended is started again."),
    ),
    "crash-loop": Words(
        502,
        _("The server keeps ending"),
        _("It ended {restarts} times, last with: {exit}. Last lines of its log: {log}"),
        _("Read the log, mend the cause, then retry."),
    ),
    # marketplace
    "invalid-login-link": Words(
        403,
        _("This sign-in link does not work"),
        _("It was used already, or is older than half an hour."),
        _("Print a new one on the machine of the shop: market login-link"),
    ),
    "sign-in-needed": Words(
        401,
        _("Sign in first"),
        _("This needs an account."),
        _("Print a sign-in link on the machine of the shop: market login-link"),
    ),
    "not-allowed": Words(
        403, _("Not allowed"), _("This needs the role {role}."), _("Ask an operator for the role.")
    ),
    "foreign-request": Words(
        403,
        _("The request came from another site"),
        _("Changes are taken from the shop's own pages only."),
        _("Open the shop itself and try again."),
    ),
    "invalid-request": Words(
        400,
        _("The request is not of the expected form"),
        "{why}",
        _("See /api/openapi.json for what is expected."),
    ),
    "field-refused": Words(
        400, _("This is to be filled in otherwise"), "{why}", _("Correct it here, then send the form again.")
    ),
    "not-found": Words(
        404, _("Nothing here"), _("There is no page at {path}."), _("Begin at the home page.")
    ),
    "method-not-allowed": Words(
        405, _("Not this way"), _("{path} does not take {method}."), _("See /api/openapi.json.")
    ),
    "too-large": Words(
        413, _("The request is too large"), _("More than {limit} bytes."), _("Send less at a time.")
    ),
    "internal-error": Words(
        500,
        _("Something broke on our side"),
        _("It was written to the log under {incident}."),
        _("Try again; if it stays, look for this number in the shop's log."),
    ),
}
