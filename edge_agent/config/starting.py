"""The configuration of a start: a device file that an earlier start did not survive is put back before it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from connectors.model.errors import ConfigInvalid
from connectors.ports.settings import DriverType
from edge_agent.config.file_store import FileStore
from edge_agent.config.load import LoadedConfig, load_with_origins
from edge_agent.config.places import data_dir_in, read_main


def load_for_start(
    path: Path, drivers: Mapping[str, DriverType], is_held: Callable[[Path], bool]
) -> tuple[LoadedConfig, list[str]]:
    """The configuration, and what there is to say of device files, in sentences.

    With a file on trial that makes it invalid, it is that with the file before. What the disk does not let be put back
    keeps nobody from starting. Nothing is touched while another agent ``is_held`` to run on the data folder: this one
    will not run, and the trial is that one's. Raises ``ConfigInvalid``.
    """
    notes: list[str] = []
    main = read_main(path)
    folder = data_dir_in(main.document, path)
    store = FileStore(path.parent, folder)
    if is_held(folder):
        return load_with_origins(path, drivers, main=main), notes
    try:
        trial = store.before_start()
    except OSError as exc:
        notes.append(f"the device files on trial cannot be looked after: {exc}")
        trial = None
    try:
        return load_with_origins(path, drivers, main=main), notes
    except ConfigInvalid as exc:
        if trial is None:
            raise
        said = f"the configuration was not valid with it: {exc.problems[0]}"
        try:
            store.roll_back(said)
        except OSError as failed:
            raise exc from failed
        notes.append(f"{trial.name} version {trial.version} is put back: {said}")
    return load_with_origins(path, drivers, main=main), notes
