"""Tags that browse rules find have one place each for as long as the agent runs."""

from __future__ import annotations

from connectors.opcua.known_tags import KnownTags
from connectors.opcua.tag_settings import OpcUaTag


def tags(*names: str, at: str = "ns=2;i=1") -> dict[str, OpcUaTag]:
    return {name: OpcUaTag(name=name, at=at) for name in names}


def test_a_tag_keeps_its_place_while_it_is_away() -> None:
    known = KnownTags(tuple(tags("named").values()), 10)
    new, beyond = known.take(tags("a", "b"))
    assert ([tag.name for tag in new], beyond, sorted(known.indices_in_use)) == (["a", "b"], 0, [1, 2])
    new, _ = known.take(tags("b", "c"))
    assert ([tag.name for tag in new], sorted(known.indices_in_use)) == (["c"], [2, 3])
    assert [tag.name for tag in known.absent] == ["a"]
    new, _ = known.take(tags("a", "b", "c"))
    assert (new, known.absent, sorted(known.indices_in_use)) == ([], [], [1, 2, 3])
    assert [tag.name for tag in known.all] == ["named", "a", "b", "c"]
    assert list(known.of_file) == [0]


def test_tags_that_could_not_be_looked_for_stay_in_use() -> None:
    known = KnownTags((), 10)
    known.take(tags("a", "b"))
    new, _ = known.take(tags("c"), is_whole=False)
    assert ([tag.name for tag in new], known.absent, sorted(known.indices_in_use)) == (["c"], [], [0, 1, 2])


def test_a_tag_that_is_at_another_node_now_is_read_there() -> None:
    known = KnownTags((), 10)
    known.take(tags("a", at="ns=2;i=1"))
    known.take(tags("a", at="ns=2;i=7"))
    assert known[0].at == "ns=2;i=7"


def test_what_there_is_no_room_for_is_counted_and_has_no_place() -> None:
    known = KnownTags((), 2)
    new, beyond = known.take(tags("a", "b", "c", "d"))
    assert ([tag.name for tag in new], beyond, len(known.all)) == (["a", "b"], 2, 2)
    new, beyond = known.take(tags("c"))
    assert (new, beyond, known.indices_in_use, len(known.absent)) == ([], 1, frozenset(), 2)
