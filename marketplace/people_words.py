"""The words of refusals about accounts, sign-in and tokens."""

from marketplace.problem_words import Words

WORDS: dict[str, Words] = {}
