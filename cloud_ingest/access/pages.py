"""Lists come a page at a time: ``{"<things>": [...], "next": ...}``; ``next`` is the ``after`` of the next request.

``next`` is the key of the last one in the page, by which the list is sorted, and null on the last page. So nothing is
left out or told twice when others come and go meanwhile, as it would be with page numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Query

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
AFTER_CHARS_MAX: Final = 300
T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="At most so many", examples=[LIMIT])]
"""``limit: Limit = LIMIT``: ask the database for ``limit + 1``, and ``page`` tells whether there are more."""
After = Annotated[str, Query(max_length=AFTER_CHARS_MAX, description="The 'next' of the page before")]
"""``after: After = ""`` of lists whose key is text: the empty text is before all of them."""


def page(rows: Sequence[T], limit: int, key: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """The first ``limit`` of ``rows``, of which up to ``limit + 1`` were asked for, and where the next page begins."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], key(rows[limit - 1])
