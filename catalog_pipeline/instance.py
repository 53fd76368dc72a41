"""Where Dagster keeps its instance: the folder that DAGSTER_HOME names.

Only the folder and its `dagster.yaml` belong here. Opening the instance is for the command line,
so that nothing below it depends on Dagster.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.settings import Settings

VARIABLE = "DAGSTER_HOME"
_FOLDER = "dagster"
_INSTANCE_FILE = "dagster.yaml"
_LOCAL_INSTANCE = "dagster_local.yaml"
_WORKSPACE_FILE = "workspace.yaml"
_LOCAL_WORKSPACE = "workspace_local.yaml"


def ensure_dagster_home(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """The instance's folder, made if absent and given the local `dagster.yaml` if it has none.

    The caller sets DAGSTER_HOME to it for Dagster to find. A `dagster.yaml` that is there already
    is a person's and stays as it is.

    Raises:
        ConfigurationError: the folder cannot be used, or is not named although data is remote.
    """
    home = _home(settings, os.environ if environ is None else environ)
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(home / _INSTANCE_FILE):
            _write(home / _INSTANCE_FILE, _LOCAL_INSTANCE)
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE}: the folder {home} cannot be used: {error.strerror}"
        ) from error
    return home


def ensure_workspace(home: Path) -> Path:
    """A workspace file in the instance's folder that loads the code location, made if absent.

    Processes that share an instance must call the location by one name, wherever they were started
    and whether or not the project's own `workspace.yaml` is at hand.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    target = home / _WORKSPACE_FILE
    try:
        if not target.exists():
            _write(target, _LOCAL_WORKSPACE)
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE}: {target} cannot be written: {error.strerror}"
        ) from error
    return target


def _home(settings: Settings, environ: Mapping[str, str]) -> Path:
    named = environ.get(VARIABLE)
    if named:
        home = Path(named).expanduser()
        if not home.is_absolute():
            # Dagster's own rule; refused here before it appears as a traceback.
            raise ConfigurationError(f"{VARIABLE}: must be an absolute path, not {named!r}")
        return home
    if settings.data_is_remote:
        raise ConfigurationError(
            f"{VARIABLE}: must be set, because CATALOG_DATA_DIR is remote and the instance needs a "
            "local folder"
        )
    return settings.local_data_dir / _FOLDER


def _write(target: Path, source: str) -> None:
    content = resources.files("catalog_pipeline").joinpath(source).read_bytes()
    # Two commands may start at once: each replaces the whole file, with the same content.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
