"""The tags of one device for as long as the agent runs: those of its file, and those that browse rules have found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.opcua.tag_settings import OpcUaTag

_NOBODY: Final = OpcUaTag.model_construct(name="", at="")


class KnownTags:
    """Tags by index. A tag that was found keeps its index, whether or not it is found again after a reconnect."""

    def __init__(self, tags: tuple[OpcUaTag, ...], tags_max: int, others: int = 0) -> None:
        """``others``: so many indices after those of the file's tags are not the driver's."""
        self.all = [*tags, *[_NOBODY] * others]
        self._of_file = len(tags)
        self._tags_max = tags_max
        self._found: dict[str, int] = {}
        self.indices_in_use: frozenset[int] = frozenset()
        """The indices of the tags that were found by the newest browse."""

    def __getitem__(self, index: int) -> OpcUaTag:
        return self.all[index]

    @property
    def of_file(self) -> range:
        """The indices of the tags that the device file names."""
        return range(self._of_file)

    @property
    def absent(self) -> list[OpcUaTag]:
        """The tags that were found once, and not by the newest browse."""
        return [self.all[index] for index in self._found.values() if index not in self.indices_in_use]

    def take(self, found: Mapping[str, OpcUaTag], *, is_whole: bool = True) -> tuple[list[OpcUaTag], int]:
        """These tags, by name, were found now; the new ones among them, and how many there is no room for.

        Unless that ``is_whole`` all that there is, those that were in use stay so.
        """
        room = self._tags_max - len(self.all)
        new = [tag for name, tag in found.items() if name not in self._found]
        for tag in new[:room]:
            self._found[tag.name] = len(self.all)
            self.all.append(tag)
        in_use = {self._found[name]: tag for name, tag in found.items() if name in self._found}
        for index, tag in in_use.items():
            self.all[index] = tag
        self.indices_in_use = frozenset(in_use) if is_whole else self.indices_in_use | frozenset(in_use)
        return new[:room], max(0, len(new) - room)
