"""How settings are called in messages, and what the models say about them."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from connectors.configuration.key_synonyms import SYNONYMS
from connectors.configuration.yaml_nodes import Source
from connectors.ports.settings import parse_duration, parse_size

SHOWN_CHARS_MAX: Final = 60
SIMILAR: Final = 0.6
VERY_SIMILAR: Final = 0.85
"""``difflib.SequenceMatcher.ratio``: from which one spelling is taken for another."""
_CREDENTIALS: Final = re.compile(r"://[^\s'\"]*@")
_DURATION_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_SIZE_UNITS: Final = (
    ("GiB", 1024**3),
    ("MiB", 1024**2),
    ("KiB", 1024),
    ("GB", 10**9),
    ("MB", 10**6),
    ("kB", 1000),
    ("B", 1),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A field as its model declares it: the plain type, what is read before the type, and the description."""

    annotation: Any
    readers: frozenset[Callable[..., Any]]
    required: bool
    description: str

    @property
    def model(self) -> type[BaseModel] | None:
        """The model of the settings below this one, if it is a group of settings."""
        return self.annotation if isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel) else None

    @property
    def is_single(self) -> bool:
        """Whether the setting is one value: no group, no list, no names with settings."""
        return self.model is None and get_origin(self.annotation) not in (tuple, dict)

    @property
    def choices(self) -> tuple[Any, ...]:
        """All that the setting can be, where that is a short list; else nothing."""
        return get_args(self.annotation) if get_origin(self.annotation) is Literal else ()


def setting_at(model: type[BaseModel], path: Sequence[str | int]) -> Setting | None:
    """The setting that ``path`` below ``model`` leads to; ``None`` when there is no such setting."""
    setting = Setting(model, frozenset(), True, "")
    for step in path:
        if isinstance(step, str) and get_origin(setting.annotation) is dict:
            setting = _plain(get_args(setting.annotation)[1], (), True, "")
        elif isinstance(step, str):
            field = _field(setting.model, step)
            if field is None:
                return None
            setting = _plain(field.annotation, field.metadata, field.is_required(), field.description or "")
        elif get_origin(setting.annotation) is tuple:
            setting = _plain(get_args(setting.annotation)[0], (), True, "")
        else:
            return None
    return setting


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a file can have below ``model``, in the order of the declaration."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _field(model: type[BaseModel] | None, key: str) -> FieldInfo | None:
    fields = {} if model is None else model.model_fields
    return next((field for name, field in fields.items() if (field.alias or name) == key), None)


def _plain(annotation: Any, metadata: Iterable[Any], required: bool, description: str) -> Setting:
    """Take ``Annotated`` and ``| None`` off a type."""
    found = list(metadata)
    while True:
        origin, parts = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            annotation = parts[0]
            found += parts[1:]
        elif origin in (Union, types.UnionType) and len(parts) == 2 and type(None) in parts:
            annotation = next(part for part in parts if part is not type(None))
        else:
            break
    readers = frozenset(entry.func for entry in found if isinstance(entry, BeforeValidator))
    return Setting(annotation, readers, required, description)


def called(document: Source, path: Sequence[str | int]) -> str:
    """What the value at ``path`` is called in a sentence: ``'sampling' of tag 'ram/force'``."""
    if not path:
        return "the file"
    *above, last = path
    if isinstance(last, int):
        kind = {"devices": "device", "tags": "tag", "derived": "tag"}.get(str(above[-1]) if above else "")
        if kind is None:
            return f"entry {last + 1} of {called(document, above)}"
        name = document.get([*path, "name"])
        return f"{kind} {shown(name)}" if isinstance(name, str) and name else f"this {kind}"
    return f"{shown(last)} of {called(document, above)}" if above else shown(last)


def shown(value: Any) -> str:
    """A value in a sentence, in one line and not too long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, tuple)):
        return "a group of settings" if isinstance(value, dict) else "a list"
    text = without_credentials(repr(value))
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 2]}…{text[-1]}"


def without_credentials(text: str) -> str:
    """``text`` without what stands before the ``@`` of an address: it may be a password."""
    return _CREDENTIALS.sub("://…@", text)


def nearest(text: Any, known: Iterable[str]) -> str | None:
    """The spelling in ``known`` that ``text`` was probably meant to be; upper and lower case do not matter."""
    by_folded = {_folded(spelling): spelling for spelling in known}
    return by_folded.get(_close(text, by_folded, SIMILAR) or "") if isinstance(text, str) else None


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The key in ``known`` that ``key`` was probably meant to be: misspelt, or by the name that it has elsewhere."""
    by_folded = {_folded(spelling): spelling for spelling in known}
    elsewhere = {word: next((name for name in names if name in by_folded), None) for word, names in SYNONYMS.items()}
    if _folded(key) in elsewhere.keys() - by_folded.keys():
        return elsewhere[_folded(key)]  # none, when it belongs somewhere else: not whatever sounds like it
    by_word = {word: name for word, name in elsewhere.items() if name is not None} | by_folded
    return by_word.get(_close(key, by_word, VERY_SIMILAR) or "") or nearest(key, by_folded.values())


def _folded(text: str) -> str:
    return text.strip().casefold().replace("-", "_")


def _close(text: str, words: Iterable[str], cutoff: float) -> str | None:
    if len(text) > SHOWN_CHARS_MAX:
        return None
    return next(iter(difflib.get_close_matches(_folded(text), words, n=1, cutoff=cutoff)), None)


def listed(words: Iterable[str], last: str = "or") -> str:
    """``a, b or c``."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 tag``, ``2 tags``, ``1,200 batches``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def quantity(setting: Setting | None, number: float) -> str:
    """A bound as the file would write it: ``10s``, ``64KiB``, ``255``."""
    readers = frozenset() if setting is None else setting.readers
    if parse_duration in readers:
        if 0 < number < 1:
            return f"{number * 1000:g}ms"
        unit, size = next((unit for unit in _DURATION_UNITS if number >= unit[1] and number % unit[1] == 0), ("s", 1))
        return f"{number / size:.10g}{unit}"
    if parse_size in readers:
        exact = [f"{number / size:.10g}{unit}" for unit, size in _SIZE_UNITS if number % size == 0]
        return min(exact, key=len)
    return f"{number:.10g}"
