"""Full-text search, the same on every store: which words a text has, and which texts a question finds. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Final

WORD_CHARS_MAX: Final = 64
"""What is longer is cut: two words that differ behind that are one."""
WORDS_MAX: Final = 2000
"""The first so many different words of a text are those that it is found by."""
QUESTION_WORDS_MAX: Final = 20


def words_of(text: str, count_max: int = WORDS_MAX) -> list[str]:
    """The different words of ``text``, in their order: letters and digits, without case and accents.

    ``Größe 12-A`` has the words grosse, 12 and a.
    """
    folded = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(
        character if character.isalnum() else "" if unicodedata.combining(character) else " " for character in folded
    )
    found: dict[str, None] = {}
    for word in kept.split():
        if len(found) == count_max:
            break
        found[word[:WORD_CHARS_MAX]] = None
    return list(found)


def matches(words: Collection[str], question: str) -> bool:
    """Whether a text with ``words`` is found: each word of ``question`` is one of them, or the beginning of one.

    A question without a word finds everything.
    """
    return all(any(word.startswith(asked) for word in words) for asked in words_of(question, QUESTION_WORDS_MAX))
