"""The words of refusals when listings are compared."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "compare-too-many": Words(
        422,
        _("Too many to compare"),
        _("Up to {most} listings stand side by side; {given} were asked for."),
        _("Leave some out."),
    ),
}
