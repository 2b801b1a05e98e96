"""What a run shows beside numbers: images by step, figures, tables, files, data sets."""

from __future__ import annotations

import io
import json
import math
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from d2n import secrets
from d2n.core import DatasetInfo
from d2n.errors import TrackingError
from d2n.files.scratch import scratch
from d2n.files.writing import aside
from d2n.tracking import names
from d2n.tracking.connection import Connection
from d2n.tracking.spool import writes
from d2n.tracking.spool.writes import Write

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_DIGEST = 36  # MLflow's column
_PREVIEW_PX = 256  # longer side of what the grid shows first


def image(pixels: np.ndarray, key: str, step: int) -> list[Write]:
    """(H, W, 3) or (H, W) uint8 under `key` and `step` of the UI's image grid, whole and as its small preview.

    Named as MLflow's own log_image names them, and once: the same sent again is one image still.
    """
    shape = pixels.shape
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or (pixels.ndim == 3 and shape[2] not in (1, 3, 4))
    ):
        raise TrackingError(
            f"image {key!r} is {pixels.dtype} of shape {shape}: expected uint8 (height, width, 3)"
        )
    whole = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and shape[2] == 1 else pixels)
    longer = max(whole.size)
    width, height = (max(1, side * _PREVIEW_PX // longer) for side in whole.size)
    stamp = time.time_ns() // 1_000_000
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{stamp}+{uuid.uuid4()}"
    made = {
        f"{name}.png": _encoded(whole, "png"),
        f"{name}+compressed.webp": _encoded(whole.resize((width, height)), "webp"),
    }
    return [writes.files("images", made), writes.tags({names.LOGGED_IMAGES: "True"})]


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def logged_images(store: Connection, run_id: str) -> set[tuple[str, int]]:
    """(key, step) of every image in the run's grid."""
    return {(key, step) for key, step, _ in _images(store, run_id)}


def image_paths(store: Connection, run_id: str, key: str) -> dict[int, str]:
    """The file of each step of a key in the run's grid; of two of one step the later."""
    found = sorted((path for one, _, path in _images(store, run_id) if one == key and path.endswith(".png")))
    return {step: path for path in found for one, step in [_key_and_step(path)] if one == key}


def _images(store: Connection, run_id: str) -> Iterator[tuple[str, int, str]]:
    for file in store.call(store.client.list_artifacts, run_id, "images"):
        key, step = _key_and_step(file.path)
        if key:
            yield key, step, file.path


def _key_and_step(path: str) -> tuple[str, int]:
    """Of key+step+N+timestamp+…, '/' of the key written '~'; ('', 0) of another file."""
    parts = Path(path).name.split("+")
    if len(parts) > 3 and parts[1] == "step" and parts[2].isdigit():
        return parts[0].replace("~", "/"), int(parts[2])
    return "", 0


def figure(given: Any, path: str) -> list[Write]:
    """A plotly figure as its JSON: a page with the library in it takes 4.8 MB, ``plotly.io.read_json`` makes one."""
    if not path.endswith(".json"):
        raise TrackingError(f"figure {path!r}: expected a name that ends in .json")
    return [writes.text(given.to_json(), path)]


def table(given: Mapping[str, Sequence[Any]] | pd.DataFrame, path: str) -> list[Write]:
    """A table in the UI's own format; it replaces an earlier one (MLflow's log_table would append)."""
    if not path.endswith(".json"):
        raise TrackingError(f"table {path!r}: expected a name that ends in .json")
    text = json.dumps(secrets.scrub_values(_split(given)), default=_plain)
    return [writes.text(text, path), writes.table(path)]


def file(path: Path, artifact_dir: str | None) -> list[Write]:
    """A file, or a folder with all it holds."""
    if not path.exists():
        raise TrackingError(f"{path} is not there: expected a file or folder to log")
    return [writes.files(artifact_dir, {path.name or "folder": path})]


def dataset(info: DatasetInfo, context: str) -> list[Write]:
    """The data set as the run's input, with source, counts and rule for the UI."""
    told = {
        "name": info.name,
        "digest": info.digest[:_LONGEST_DIGEST],
        "source": json.dumps({"uri": secrets.scrub_urls(info.root)}),
        "profile": json.dumps(secrets.scrub_values({**asdict(info), "counts": dict(info.counts)})),
    }
    return [writes.dataset(told, context)]


def read_datasets(store: Connection, run_id: str) -> dict[str, dict[str, Any]]:
    """What log_dataset kept, by context (training, evaluation): name, digest, rule, counts."""
    found: dict[str, dict[str, Any]] = {}
    inputs = store.call(store.client.get_run, run_id).inputs
    for given in inputs.dataset_inputs if inputs is not None else ():
        contexts = [tag.value for tag in given.tags if tag.key == names.DATA_CONTEXT]
        try:
            profile = json.loads(given.dataset.profile or "")
        except (ValueError, RecursionError):
            continue  # written by others
        if contexts and isinstance(profile, dict):
            found[contexts[0]] = profile
    return found


def fetch(store: Connection, run_id: str, path: str, destination: Path) -> Path:
    """Download an artifact of a run into a folder; where it lies now comes back."""
    with scratch("artifact") as folder:
        here = Path(store.call(store.client.download_artifacts, run_id, path, str(folder)))
        destination.mkdir(parents=True, exist_ok=True)
        target = destination / Path(path).name
        if here.is_dir():
            shutil.copytree(here, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            with aside(target) as part:
                shutil.copyfile(here, part)
    return target


def _split(table: Mapping[str, Sequence[Any]] | pd.DataFrame) -> dict[str, list[Any]]:
    """The "split" orientation: columns, and rows."""
    columns = {str(name): list(values) for name, values in table.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise TrackingError(
            "a table's columns differ in length: " + ", ".join(f"{k} {len(v)}" for k, v in columns.items())
        )
    rows = [[_plain(value) for value in row] for row in zip(*columns.values(), strict=True)]
    return {"columns": list(columns), "data": rows}


def _plain(value: Any) -> Any:
    """A value as JSON has it: numpy scalars unwrapped, NaN and infinities null, the rest as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool | list | dict) else str(value)
