"""Logs models: exported with torch.export, without pickle and without paths of this machine, sealed by their sums."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException

from d2n import secrets
from d2n.errors import TrackingError
from d2n.files.scratch import scratch
from d2n.files.writing import require_room
from d2n.tracking import names, seal
from d2n.tracking.connection import Connection
from d2n.tracking.models import archive, description, mould
from d2n.tracking.models.reading import brief_error, mlflow_module

logger = logging.getLogger(__name__)

_PROGRAM_BYTES = 16 * 2**20  # with room to spare: torch's writer ends the process on a disk that is full
_MOULDS = mould.Moulds()
_IMAGES = (-1, 3, -1, -1)
_WITHOUT = (
    "input_example.json",
    "serving_input_example.json",
)  # what tracing needed; a loaded model does not


def log_model(
    store: Connection,
    run_id: str,
    experiment_id: str,
    module: Any,
    *,
    name: str,
    step: int,
    example: np.ndarray,
    output_shape: Sequence[int] = _IMAGES,
    extra_files: Sequence[Path] = (),
    metadata: Mapping[str, Any] | None = None,
    pip_requirements: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Export and store a module (B, 3, H, W) float32 → `output_shape`; the logged model's id comes back.

    The module must be in eval mode, on the CPU, and exportable with any batch, height and width; -1 in
    `output_shape` stands for any size. `example` has a batch of at least 2: torch.export freezes a batch of 1.
    The export is finished before the store hears of the model, so a module that does not export leaves nothing.
    One of the structure of an earlier one in this process is not exported again (mould).
    ``metadata["input_range"]`` of a generator becomes a tag too, and so do the sums of its files.
    """
    _require_exportable(module, example)
    requirements = list(pip_requirements or default_requirements())
    with scratch("model") as above:
        folder = above / "model"
        described = secrets.scrub_values(dict(metadata or {}))
        _save(module, folder, example, output_shape, extra_files, described, requirements)
        told = secrets.scrub_values(dict(tags or {}))
        if input_range := described.get("input_range"):
            told[names.INPUT_RANGE] = str(input_range)
        return _store_model(store, run_id, experiment_id, folder, name, step, told)


def default_requirements() -> list[str]:
    """What a stored model needs to run: MLflow, torch and numpy as installed here."""
    return [f"{p}=={package_metadata.version(p).partition('+')[0]}" for p in ("mlflow", "numpy", "torch")]


def _require_exportable(module: Any, example: np.ndarray) -> None:
    if getattr(module, "training", False):
        raise TrackingError("the module is in training mode: call .eval(), dropout is frozen at export")
    if example.dtype != np.float32 or example.ndim != 4 or example.shape[0] < 2 or example.shape[1] != 3:
        raise TrackingError(
            f"the example is {example.dtype} {example.shape}: expected float32 (2 or more, 3, height, width)"
        )
    devices = {p.device.type for p in module.parameters()}
    if devices - {"cpu"}:
        raise TrackingError(f"the module is on {', '.join(sorted(devices))}: pass a copy on the CPU")


def _save(
    module: Any,
    folder: Path,
    example: np.ndarray,
    output_shape: Sequence[int],
    extra_files: Sequence[Path],
    metadata: dict[str, Any],
    requirements: list[str],
) -> None:
    """The model's folder: exported, or poured into what an earlier network of its structure left here."""
    key = mould.key_of(module, example, output_shape, extra_files, requirements)
    if (kept := _MOULDS.get(key)) is not None:
        kept.pour(module, folder, extra_files, metadata)
        return
    _export(module, folder, example, output_shape, extra_files, metadata, requirements)
    _MOULDS.keep(key, folder)


def _export(
    module: Any,
    folder: Path,
    example: np.ndarray,
    output_shape: Sequence[int],
    extra_files: Sequence[Path],
    metadata: dict[str, Any],
    requirements: list[str],
) -> None:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, _IMAGES)]),
        outputs=Schema([TensorSpec(float32, tuple(output_shape))]),
    )
    pytorch = mlflow_module("mlflow.pytorch")
    weights = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    require_room(folder.parent, 2 * weights + _PROGRAM_BYTES)
    try:
        with _quiet_solver(), warnings.catch_warnings():
            # torch's own note on shared buffers while it saves a program; the weights here are on the CPU
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            pytorch.save_model(
                module,
                str(folder),
                serialization_format="pt2",
                signature=signature,  # its -1 dimensions become the export's dynamic ones
                input_example=example,
                extra_files=[file.absolute().as_uri() for file in extra_files]
                or None,  # it reads paths as URIs
                metadata=metadata or None,
                pip_requirements=requirements,
            )
    except Exception as error:  # torch.export raises many kinds
        raise TrackingError(f"the module does not export: {brief_error(error)}") from error
    _bare(folder)


@contextlib.contextmanager
def _quiet_solver() -> Iterator[None]:
    """Pages of traces where sympy cannot solve for a size, which the export then keeps as it is."""
    told = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(before)


def _bare(folder: Path) -> None:
    """Leave out the example, its pickle in the archive, and where on this machine the program was traced."""
    from mlflow.models import Model

    exported = folder / description.EXPORTED
    traced = exported.replace(exported.with_name("traced.pt2"))
    archive.rewrite(traced, exported)
    traced.unlink()
    for name in _WITHOUT:
        (folder / name).unlink(missing_ok=True)
    described = Model.load(str(folder / description.DESCRIPTION))
    described.saved_input_example_info = None  # type: ignore[assignment]  # what it is without an example
    described.save(str(folder / description.DESCRIPTION))


def _store_model(
    store: Connection,
    run_id: str,
    experiment_id: str,
    folder: Path,
    name: str,
    step: int,
    tags: dict[str, str],
) -> str:
    from mlflow.models import Model

    client = store.client
    params = dict(store.call(client.get_run, run_id).data.params)
    model = store.call(client.create_logged_model, experiment_id, name, run_id, tags, params, "pytorch")
    described = Model.load(str(folder / description.DESCRIPTION))
    described.run_id, described.model_uuid, described.model_id = run_id, model.model_id, model.model_id
    described.save(str(folder / description.DESCRIPTION))
    try:
        description.check_folder(folder)
        archive.require_plain(folder / description.EXPORTED)
        sealed = seal.tag_values(seal.manifest(folder))
        store.call(client.set_logged_model_tags, model.model_id, sealed)
        store.call(client.log_model_artifacts, model.model_id, str(folder))
        store.call(client.log_outputs, run_id, [LoggedModelOutput(model.model_id, step=step)])
        store.call(client.finalize_logged_model, model.model_id, "READY")
    except BaseException:
        _give_up(store, model.model_id)
        raise
    return str(model.model_id)


def _give_up(store: Connection, model_id: str) -> None:
    try:
        store.client.finalize_logged_model(model_id, "FAILED")
    except (MlflowException, OSError) as error:
        logger.warning("logged model %s stays PENDING: %s", model_id, brief_error(error))
