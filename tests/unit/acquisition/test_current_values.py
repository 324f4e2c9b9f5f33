"""The newest samples of the tags of a device are those that a look at each single sample finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.samples import batch_of_rows
from connectors.model.tags import TagName, TagType
from connectors.sparkplug.birth import CurrentValue
from edge_agent.acquisition.current_values import CurrentValues

TAGS = 6
TYPES = (DataType.DOUBLE, DataType.INT32)
SAMPLES = st.tuples(
    st.sampled_from([(0, 2, 4), (0, 2, 4), (1, 3, 5), (1, 3, 5), (0,), (3, 1), (2, 3), (1, 1)]),
    st.integers(0, 100),
    st.sampled_from([0, 0, 0x4090, 0x8000]),
)
STEPS = st.lists(st.one_of(SAMPLES, st.sampled_from(["look", "types", "more"])), max_size=30)


@given(STEPS)
def test_the_newest_samples_are_those_that_came_last(steps: list[Any]) -> None:
    current, newest, counts, count = CurrentValues(TAGS), {}, {}, TAGS
    types = [TYPES[index % 2] for index in range(TAGS)]

    def bind() -> None:
        current.bind([TagType(index, TagName(f"t{index}"), datatype) for index, datatype in enumerate(types)])

    bind()
    for number, step in enumerate(steps):
        if step == "look":
            assert current.sample_count.tolist() == [counts.get(index, 0) for index in range(count)]
        elif step == "types":
            types[0] = TYPES[1 - TYPES.index(types[0])]
            newest.pop(0, None)
            bind()
        elif step == "more":
            current.extend(1)
            count += 1
        else:
            tags, value, quality = step
            for datatype in TYPES:
                of_type = [tag for tag in tags if types[tag] is datatype]
                given_value = None if quality == 0x8000 else float(value) if datatype is DataType.DOUBLE else value
                current.update(batch_of_rows(datatype, [(tag, number, given_value, quality) for tag in of_type]))
                newest |= dict.fromkeys(of_type, CurrentValue(given_value, number, quality))
                counts |= {tag: counts.get(tag, 0) + 1 for tag in set(of_type)}
    assert [current.of(index) for index in range(count)] == [newest.get(index) for index in range(count)]
    assert current.has_value.tolist() == [index in newest for index in range(count)]
    assert current.has_good() == any(each.quality < 0x4000 for each in newest.values())
    assert current.sample_count.tolist() == [counts.get(index, 0) for index in range(count)]
