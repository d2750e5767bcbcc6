"""The words of what checks of a version find: what is wrong, why, and the one next step."""

from marketplace.problem_words import Words

WORDS: dict[str, Words] = {}
