"""asyncua without its server and without a second list of names: 3 MB of memory and 50 ms of each start, for a client.

``import asyncua`` imports its server, too; who plays a device (``simulated_server``) has it loaded all the same. Of the
15,000 nodes of the standard it keeps the names twice, from name to number and back, and uses the way back for texts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_SERVER: Final = "asyncua.server"
_IDS: Final = "asyncua.ua.object_ids"


class _Server:
    """Stands for ``asyncua.Server`` until somebody makes one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        load_server()
        from asyncua.server.server import Server

        return Server(*args, **kwargs)


def leave_server_out() -> None:
    """From here on asyncua is imported without its server, unless it was imported already."""
    if "asyncua" not in sys.modules:
        stand_in = ModuleType(_SERVER, "The server of asyncua, which was left out.")
        stand_in.Server = _Server  # type: ignore[attr-defined]
        sys.modules[_SERVER] = stand_in


def load_server() -> None:
    """The modules of the server can be imported from here on."""
    if not hasattr(sys.modules.get(_SERVER), "__path__"):
        sys.modules.pop(_SERVER, None)


class Names(dict[int, str]):
    """asyncua's ``ObjectIdNames``, which is made of its ``ObjectIds`` when it is first asked for anything."""

    def __init__(self, ids: type) -> None:
        super().__init__()
        self._ids = ids

    def _made(self) -> Names:
        if not super().__len__():
            found = vars(self._ids).items()
            super().update({number: name for name, number in found if isinstance(number, int)})
        return self

    def __missing__(self, number: int) -> str:
        """The first one that is asked for."""
        if super().__len__():
            raise KeyError(number)
        return self._made()[number]


def _asked_first(name: str) -> Callable[..., Any]:
    plain = getattr(dict, name)

    def asked(self: Names, *args: Any) -> Any:
        return plain(self._made(), *args)

    return asked


for _name in ("__contains__", "__iter__", "__len__", "get", "items", "keys", "values"):
    setattr(Names, _name, _asked_first(_name))


def leave_names_out() -> None:
    """From here on asyncua has the names of numbers when somebody asks for one, unless it was imported already."""
    found = None if "asyncua" in sys.modules else find_spec("asyncua")
    if found is None or found.origin is None:
        return
    spec = spec_from_file_location(_IDS, Path(found.origin).parent / "ua" / "object_ids.py")
    if spec is None or spec.loader is None:
        return
    ids = module_from_spec(spec)
    spec.loader.exec_module(ids)
    vars(ids)["ObjectIdNames"] = Names(ids.ObjectIds)
    sys.modules[_IDS] = ids
