"""Words that texts are found by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.ports.document_words import WORD_CHARS_MAX, matches, words_of


def test_words_are_letters_and_digits_without_case_and_accents() -> None:
    assert words_of("Größe 12-A, größe; d'Évreux_ｆｕｌｌ") == ["grosse", "12", "a", "d", "evreux", "full"]
    assert words_of("a b c", 2) == ["a", "b"]
    assert words_of("x" * 100) == ["x" * WORD_CHARS_MAX]


@given(st.text(max_size=50))
def test_a_text_is_found_by_itself_and_words_are_letters_and_digits(text: str) -> None:
    words = words_of(text)
    assert matches(words, text)
    assert all(word.isalnum() and len(word) <= WORD_CHARS_MAX for word in words)
