"""Derived tags for those devices that have some: the parser of formulas is loaded for no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectors.ports.settings import DerivedTagSettings

if TYPE_CHECKING:
    from edge_agent.acquisition.derived import DerivedTags


def derived_tags(tag_names: Sequence[str], derived: Sequence[DerivedTagSettings]) -> DerivedTags | None:
    """What calculates ``derived``, which are the last of ``tag_names``; ``None`` when there are none."""
    if not derived:
        return None
    from edge_agent.acquisition.derived import DerivedTags

    return DerivedTags(tag_names, derived)
