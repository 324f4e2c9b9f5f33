"""Which tag a person means: ``device/tag``, a tag whose name only one device has, or a pattern such as ``press/*``."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Final

NEAR_MAX: Final = 3
MATCHES_MAX: Final = 200


class UnknownTag(ValueError):
    """No tag is called so; the sentence says which ones nearly are."""


def tags_named(written: str, names: Mapping[str, Sequence[str]], *, patterns: bool = True) -> list[tuple[str, str]]:
    """The (device, tag) that ``written`` means; several only for a pattern. Raises ``UnknownTag``.

    ``names`` are the tags of each device. A name that is there as it is written is never taken for a pattern.
    """
    exact = [(device, tag) for device, tags in names.items() for tag in tags if f"{device}/{tag}" == written]
    if exact:
        return exact
    alone = [(device, tag) for device, tags in names.items() for tag in tags if tag == written]
    if len(alone) == 1:
        return alone
    if len(alone) > 1:
        raise UnknownTag(f"{len(alone)} devices have a tag {written!r}: write {_listed(alone)}")
    if patterns and any(char in written for char in "*?["):
        found = [
            (device, tag)
            for device, tags in names.items()
            for tag in tags
            if fnmatch.fnmatchcase(f"{device}/{tag}", written)
        ]
        if len(found) > MATCHES_MAX:
            raise UnknownTag(f"{written!r} means {len(found)} tags; write a pattern that means at most {MATCHES_MAX}")
        if found:
            return found
        raise UnknownTag(f"no tag is like {written!r}; 'edge-agent tags' lists all of them")
    raise UnknownTag(_unknown(written, names))


def _unknown(written: str, names: Mapping[str, Sequence[str]]) -> str:
    device, slash, _ = written.partition("/")
    every = [f"{device}/{tag}" for device, tags in names.items() for tag in tags]
    if slash and device in names:
        every = [name for name in every if name.startswith(f"{device}/")]
    if slash and device in names:  # the device is right: only what is behind it may be mistyped
        near = _near(written.partition("/")[2], {name.partition("/")[2]: name for name in every})
    else:
        near = _near(written, {name: name for name in every})
        near = near or _near(written, {name.partition("/")[2]: name for name in every})
    said = f"there is no tag {written!r}"
    if near:
        return f"{said}; did you mean {' or '.join(near)}?"
    if slash and device not in names:
        return f"{said}, and no device {device!r}; there are {', '.join(names) or 'none'}"
    return f"{said}; 'edge-agent tags' lists all of them"


def _near(written: str, names: Mapping[str, str]) -> list[str]:
    """What the names that are nearly ``written`` stand for, in any case of letters, nearest first."""
    folded = {name.casefold(): meant for name, meant in names.items()}
    return [folded[name] for name in difflib.get_close_matches(written.casefold(), folded, NEAR_MAX, 0.6)]


def _listed(found: Sequence[tuple[str, str]]) -> str:
    shown = [f"{device}/{tag}" for device, tag in found[:NEAR_MAX]]
    return " or ".join(shown) + (", …" if len(found) > NEAR_MAX else "")
