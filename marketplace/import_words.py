"""The words of refusals about imports, mirrors and the Hub API."""

from marketplace.problem_words import Words

WORDS: dict[str, Words] = {}
