"""The words of refusals about publishing, vendors and reviews."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "version-state-refused": Words(
        409,
        _("The version cannot come to this state"),
        _("{number} is {state}; from there it cannot become {wanted}."),
        _("Look at its history; a version that was submitted is not changed, publish a new number instead."),
    ),
}
