"""Logged models: exported with torch.export (no pickle, loads without d2n), checked against the eager module."""

from __future__ import annotations

import importlib
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException

from d2n import secrets
from d2n.errors import RegistryError, TrackingError
from d2n.files.scratch import scratch
from d2n.tracking.connection import Connection

logger = logging.getLogger(__name__)

EXPORTED = "data/model.pt2"  # inside a model's folder
EXTRA_FILES = "extra_files"
Network = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) float32 in; images or descriptors out
_IMAGES = (-1, 3, -1, -1)
CHECK_SIZES = ((64, 64), (80, 112))  # (height, width), one square, one neither square nor a power of two
CHECK_BATCHES = (1, 3)


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
    """
    _require_exportable(module, example)
    requirements = list(pip_requirements or default_requirements())
    with scratch("model") as above:
        folder = above / "model"
        described = secrets.scrub_values(dict(metadata or {}))
        _save(module, folder, example, output_shape, extra_files, described, requirements)
        return _store_model(
            store, run_id, experiment_id, folder, name, step, secrets.scrub_values(dict(tags or {}))
        )


def check_folder(
    folder: Path,
    eager: Network,
    sizes: Sequence[tuple[int, int]] = CHECK_SIZES,
    batches: Sequence[int] = CHECK_BATCHES,
    tolerance: float = 1e-4,
    low: float = -1.0,
) -> float:
    """Load the model in `folder` and compare it with `eager` at every batch and size; the largest difference.

    Inputs are uniform in [low, 1] (low 0 for retrieval networks). RegistryError when the model does not load,
    fails at a size, or differs by more than `tolerance` (absolute, or relative to the output's largest value).
    """
    exported, worst = load_folder(folder), 0.0
    rng = np.random.default_rng(0)
    for height, width in sizes:
        for batch in batches:
            images = rng.uniform(low, 1, (batch, 3, height, width)).astype(np.float32)
            worst = max(worst, _difference(exported, eager, images, tolerance))
    return worst


def load_folder(folder: Path) -> Network:
    """A model's folder as a function of float32 arrays; never unpickles."""
    require_exported(folder)
    pyfunc = _mlflow_module("mlflow.pyfunc")
    try:
        with scratch("load") as above:
            plain = folder
            if re.search(r"[?#%]", str(folder.absolute())):
                # MLflow reads the path as a URI and would look elsewhere
                plain = Path(shutil.copytree(folder, above / "model"))
            loaded = pyfunc.load_model(str(plain), suppress_warnings=True, model_config={"device": "cpu"})
    except Exception as error:  # torch.export and MLflow raise many kinds
        raise RegistryError(f"the model in {folder} does not load: {_brief(error)}") from error
    return lambda images: np.asarray(loaded.predict(images))


def require_exported(folder: Path) -> None:
    """RegistryError unless the folder holds an exported, pickle-free model."""
    missing = [part for part in ("MLmodel", EXPORTED) if not (folder / part).is_file()]
    if missing:
        raise RegistryError(
            f"the model in {folder} lacks {' and '.join(missing)}: expected a torch.export model"
        )


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
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, _IMAGES)]),
        outputs=Schema([TensorSpec(float32, tuple(output_shape))]),
    )
    pytorch = _mlflow_module("mlflow.pytorch")
    try:
        with warnings.catch_warnings():
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
        raise TrackingError(f"the module does not export: {_brief(error)}") from error


def _mlflow_module(name: str) -> Any:
    """One of MLflow's flavours, imported without the warnings about MLflow's own type hints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mlflow.pyfunc")
        return importlib.import_module(name)


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
    described = Model.load(str(folder / "MLmodel"))
    described.run_id, described.model_uuid, described.model_id = run_id, model.model_id, model.model_id
    described.artifact_path = model.artifact_location
    described.save(str(folder / "MLmodel"))
    try:
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
        logger.warning("logged model %s stays PENDING: %s", model_id, _brief(error))


def _difference(
    exported: Network,
    eager: Network,
    images: np.ndarray,
    tolerance: float,
) -> float:
    shape = "x".join(str(side) for side in images.shape)
    expected = np.asarray(eager(images))
    try:
        found = exported(images)
    except Exception as error:  # a frozen size shows as one of torch's many errors
        raise RegistryError(f"the stored model fails at {shape}: {_brief(error)}") from error
    if found.shape != expected.shape:
        raise RegistryError(f"the stored model gives {found.shape} at {shape}, expected {expected.shape}")
    worst = float(np.abs(found - expected).max(initial=0.0))
    if not worst <= tolerance * max(1.0, float(np.abs(expected).max(initial=0.0))):
        raise RegistryError(
            f"the stored model differs from the trained one by {worst:.2g} at {shape}, expected at most {tolerance:.2g}"
        )
    return worst


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in secrets.scrub(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
