"""Fetches the files of a logged model: held against its seal before the folder has its name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from d2n.errors import RegistryError
from d2n.files.reading import brief
from d2n.files.scratch import scratch
from d2n.files.writing import copy_folder, folder_aside
from d2n.tracking import models, names, seal
from d2n.tracking.connection import Connection
from d2n.tracking.places import local_path


def fetch(store: Connection, model_id: str, target: Path, tags: Mapping[str, str]) -> Path:
    """The model's folder at the new path `target`, complete and held against its seal, or absent.

    Against the sums in `tags` (a version's), else in the logged model's own tags; one of an earlier release has none.
    Whoever loads from it, or gives it away, asks models.make_safe first.
    """
    with folder_aside(target, durable=True) as half:
        fill(store, model_id, half, tags)
    return target


def fill(store: Connection, model_id: str, folder: Path, tags: Mapping[str, str]) -> None:
    """As fetch, into a folder that may hold a part of it already: what is there with its sum is not fetched again."""
    model = store.call(store.client.get_logged_model, model_id)  # models:/ would ask another store
    location: str = model.artifact_location
    held = tags if seal.sums_of(tags, model_id) else model.tags
    sums = seal.sums_of(held, model_id)
    _empty(folder, sums or {})
    if sums is None:
        shutil.copytree(fetch_as_it_is(store, location, folder / "whole"), folder, dirs_exist_ok=True)
        shutil.rmtree(folder / "whole")
    else:
        _refuse_others(store, location, sums)
        for name in sums:
            if not (folder / name).is_file():
                _fetch_file(store, location, name, folder / name)
        seal.check(folder, held)


def fetch_as_it_is(store: Connection, location: str, target: Path) -> Path:
    """The files at a place in the new folder `target`, unchecked."""
    import mlflow.artifacts

    with scratch("download") as above:
        got = store.call(
            mlflow.artifacts.download_artifacts,
            artifact_uri=location,
            dst_path=str(above),
            tracking_uri=store.uri,
        )
        copy_folder(Path(got), target)
    return target


def list_stored(store: Connection, location: str) -> list[str]:
    """Every file of a logged model, by its path in the folder, as the store lists it."""
    here = local_path(location)
    if here is not None:
        return seal.list_files(here)
    found: list[str] = []
    left = [""]
    while left:
        folder = left.pop()
        for entry in _listed(store, location, folder):
            name = str(PurePosixPath(folder, PurePosixPath(entry.path).name))
            (left if entry.is_dir else found).append(name)
    return sorted(found)


def seal_tags(store: Connection, model_id: str) -> dict[str, str]:
    """The seal and the input range of a logged model, as tags; of one by an earlier release they are taken now."""
    model = store.call(store.client.get_logged_model, model_id)
    own = {key: value for key, value in model.tags.items() if key.startswith(names.SEAL)}
    if own and names.INPUT_RANGE in model.tags:
        own[names.INPUT_RANGE] = model.tags[names.INPUT_RANGE]
    if own or lacks_files(store, model.artifact_location):
        return own
    with scratch("seal") as above:
        folder = fetch_as_it_is(store, model.artifact_location, above / "model")
        own = seal.tag_values(seal.manifest(folder))
        input_range = models.input_range(folder)
    return {**own, names.INPUT_RANGE: input_range} if input_range else own


def lacks_files(store: Connection, location: str) -> str:
    """What a logged model at a place lacks to be loaded, '' if nothing."""
    lacking = [
        part
        for part in (models.DESCRIPTION, models.EXPORTED)
        if Path(part).name not in _names_in(store, location, Path(part).parent.as_posix())
    ]
    return f"{' and '.join(lacking)} missing" if lacking else ""


def _names_in(store: Connection, location: str, folder: str) -> set[str]:
    """Names in a folder of a logged model, by its place: by its id MLflow would look where it lay at first."""
    import mlflow.artifacts

    uri = location if folder == "." else f"{location.rstrip('/')}/{folder}"
    listed = store.call(mlflow.artifacts.list_artifacts, artifact_uri=uri, tracking_uri=store.uri)
    return {Path(file.path).name for file in listed}


def _listed(store: Connection, location: str, folder: str) -> Any:
    import mlflow.artifacts

    uri = f"{location.rstrip('/')}/{folder}" if folder else location
    return store.call(mlflow.artifacts.list_artifacts, artifact_uri=uri, tracking_uri=store.uri)


def _empty(folder: Path, sums: Mapping[str, str]) -> None:
    """Remove whatever has not the sum that belongs to its name."""
    for name in seal.list_files(folder):
        if sums.get(name) != seal.file_sum(folder, name):
            (folder / name).unlink()


def _refuse_others(store: Connection, location: str, sums: Mapping[str, str]) -> None:
    other = sorted(set(list_stored(store, location)) - set(sums))
    if other:
        raise RegistryError(
            f"the model's folder in the store holds {brief(other[0])}, which was not registered with it: it was put "
            "there later: nothing of the model was used, take another version"
        )


def _fetch_file(store: Connection, location: str, name: str, target: Path) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise RegistryError(f"the model's seal names {brief(name)}, which is no file of its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    here = local_path(location)
    try:
        if here is not None:
            shutil.copyfile(here / name, target)
            return
        _download(store, f"{location.rstrip('/')}/{name}", target)
    except FileNotFoundError as error:
        raise RegistryError(f"the model lacks {brief(name)} in the store; take another version") from error


def _download(store: Connection, uri: str, target: Path) -> None:
    import mlflow.artifacts

    with scratch("download") as above:
        got = store.call(
            mlflow.artifacts.download_artifacts, artifact_uri=uri, dst_path=str(above), tracking_uri=store.uri
        )
        shutil.move(got, target)
