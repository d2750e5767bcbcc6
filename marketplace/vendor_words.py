"""The words of refusals about ratings and passports, and of what the pages of vendors and reviewers show."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "no-passport": Words(
        409,
        _("This version has no passport yet"),
        _("The checks of {name} {version} have not passed, so there is nothing to attest."),
        _("Look at its checks; the passport is there as soon as they have passed."),
    ),
    "rating-invalid": Words(
        400,
        _("This is no rating"),
        _("A rating has 1 to {most} stars and a text of at most {longest} characters."),
        _("Choose the stars, shorten the text, and send it again."),
    ),
    "rating-not-deployed": Words(
        403,
        _("Only those who have deployed it may rate it"),
        _("This account has never deployed {listing}."),
        _("Deploy it and call it; then say what you think of it."),
    ),
    "rating-own-listing": Words(
        403,
        _("Nobody rates their own"),
        _("This account acts for the vendor of {listing}."),
        _("Leave it to those who use it."),
    ),
    "unknown-rating": Words(
        404,
        _("No such rating"),
        _("There is no rating {id}; it may have been taken back."),
        _("Open the listing again to see the ratings that there are."),
    ),
}
