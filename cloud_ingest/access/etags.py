"""A change is made to what the asker has seen: by the revision that it had (RFC 9110, sections 8.8.3 and 13.1.1).

A route that shows one thing sets ``response.headers["ETag"] = etag(revision)``. A route that changes it takes
``if_match: IfMatch`` and, within the transaction that changes it and behind the lock on its row, asks
``check_match(if_match, revision)``. So of two people who change the same, the second one is told.

What is shown can change while the revision does not (counts, a forecast). So the gateway puts a digest of the answer
behind the revision, ``"7.3fa9…"``: who has seen that has seen revision 7, and who has that answer has this one alone.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Header

from cloud_ingest.access.refused import RequestRefused, Why

CHARS_MAX: Final = 1000
DIGEST_BYTES: Final = 12
_DIGEST: Final = re.compile(r'\.[0-9a-f]{24}(?="$)')
_TAG: Final = re.compile(r'(?:^|,)\s*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?=,|$)')

IfMatch = Annotated[
    str,
    Header(
        alias="If-Match",
        max_length=CHARS_MAX,
        description="The ETag of what was seen: a change of something newer is refused with 412, one without it with "
        "428. '*' changes whatever is there",
        examples=['"7"'],
    ),
]
"""A parameter of a route; its default is the empty text: ``if_match: IfMatch = ""``."""


def etag(revision: int | str) -> str:
    """The entity tag of ``revision``, a strong one: quotes and all."""
    return f'"{revision}"'


def etag_of_answer(tag: str, digest: str) -> str:
    """The entity tag ``tag`` of a revision as that of one answer; ``digest`` has ``DIGEST_BYTES``, in hexadecimal."""
    return f'{tag[:-1]}.{digest}"'


def matches(tags: str, current: str) -> bool:
    """Whether ``current`` is among the entity tags of an If-Match or If-None-Match; ``*`` is every one.

    Weak tags count as the strong ones of the same text, as RFC 9110, section 8.8.3.2, compares for reading.
    """
    if tags.strip() == "*":
        return True
    return current.removeprefix("W/") in {tag.removeprefix("W/") for tag in _TAG.findall(tags)}


def check_match(if_match: str, revision: int | str) -> None:
    """Raises ``RequestRefused`` unless ``if_match`` names ``revision``: 428 when it is empty, 412 when it is another.

    A weak tag is none of a revision: it says that something looks alike, and changes need the very same.
    """
    if not if_match.strip():
        why = "a change says what was seen: ask for it first, and send its ETag as If-Match"
        raise RequestRefused(Why.UNSEEN, "if_match_needed", why)
    strong = (
        if_match
        if if_match.strip() == "*"
        else ",".join(_DIGEST.sub("", tag) for tag in _TAG.findall(if_match) if tag[0] == '"')
    )
    if not matches(strong, etag(revision)):
        why = f"it was changed since: it is {etag(revision)} now, and you have seen {if_match.strip()[:100]}. Ask again"
        raise RequestRefused(Why.CHANGED, "changed_since", why)
