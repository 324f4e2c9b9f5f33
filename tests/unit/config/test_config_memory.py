"""Thousands of tags are kept for as long as the agent runs: what they have in common is there once."""

from __future__ import annotations

import pytest

from connectors.opcua.settings import OpcUaDevice


def device(tags: int) -> OpcUaDevice:
    place = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://press.example:4840", "insecure": True}
    named = [{"name": f"t{n}", "at": f"ns=1;i={n}", **({"unit": "kN"} if n % 2 else {})} for n in range(tags)]
    return OpcUaDevice.model_validate({**place, "tags": named})


def test_which_settings_were_named_is_kept_once_for_all_tags_that_name_the_same() -> None:
    made = device(100)
    assert len({id(tag.model_fields_set) for tag in made.tags}) == 2
    assert [tag.model_fields_set for tag in made.tags[:2]] == [{"name", "at"}, {"name", "at", "unit"}]


def test_a_copy_that_changes_one_tag_leaves_the_others_as_they_are() -> None:
    first, second = device(3).tags[0], device(3).tags[2]
    changed = first.model_copy(update={"unit": "bar"})
    assert (changed.unit, "unit" in changed.model_fields_set) == ("bar", True)
    assert "unit" not in second.model_fields_set
    assert "unit" not in first.model_fields_set
    with pytest.raises(ValueError, match="frozen"):
        first.unit = "bar"  # type: ignore[misc]
