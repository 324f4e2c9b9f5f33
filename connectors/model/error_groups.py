"""What ended several tasks at once, told as one error.

Python before 3.11.4 wraps whatever is raised within ``except*`` in a group of its own (gh-103590), and Debian 12 has
3.11.2. So nothing is raised there: a group is taken apart here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


def leaves(error: Exception) -> list[Exception]:
    """The errors in a group, and in the groups within it, in their order; of what is no group, itself."""
    if isinstance(error, ExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


def expected(error: Exception, *kinds: type[Exception]) -> list[Exception]:
    """Its ``leaves``, when all of them are of ``kinds``; else none: a defect is not hidden by what was expected."""
    found = leaves(error)
    return found if all(isinstance(one, kinds) for one in found) else []


@asynccontextmanager
async def first_of(*kinds: type[Exception]) -> AsyncIterator[None]:
    """Raise the first error of a group that has none but ``kinds``; everything else is raised as it is."""
    try:
        yield
    except ExceptionGroup as group:
        if not (found := expected(group, *kinds)):
            raise
        raise found[0] from group
