"""The words of refusals of the Hub API and of files that are sent in parts; see `problem_words`."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "hub-account-needed": Words(
        401,
        _("These files are for accounts only"),
        _("Whoever downloads {name} has to be signed in."),
        _("Make a token on the account page, and give it as HF_TOKEN."),
    ),
    "hub-file-unknown": Words(
        404,
        _("There is no such file"),
        _("{name} has no file {path} in this version."),
        _("Look at the files it has: hf models info {name}, or its listing's page."),
    ),
    "hub-token-invalid": Words(
        401,
        _("No account has this token"),
        _("The token is unknown, has expired or was revoked; a deployment's key opens only its deployment."),
        _("Make a token on the account page, and give it as HF_TOKEN."),
    ),
    "mcp-server-unknown": Words(
        404,
        _("There is no such server"),
        _("{name} is no agent or MCP tool of this market, or has no version {version}."),
        _("Look at those there are: /v0.1/servers."),
    ),
}
