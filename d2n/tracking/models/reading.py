"""Reads logged models: checked as plain data first, then loaded by torch.export alone, here or in a fresh process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2n import secrets
from d2n.errors import RegistryError
from d2n.files.scratch import scratch
from d2n.tracking import names
from d2n.tracking.models import archive, description

Network = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) float32 in; images or descriptors out
CHECK_SIZES = ((64, 64), (80, 112))  # (height, width), one square, one neither square nor a power of two
CHECK_BATCHES = (1, 3)
_LOAD_S = 600  # for a fresh process to load and to run a model
# What people do with a pulled folder, where d2n is not installed.
_FRESH = """
import sys, warnings
warnings.simplefilter("ignore")
sys.modules["d2n"] = None
import mlflow.pytorch, numpy, torch
model = mlflow.pytorch.load_model(sys.argv[1])
given = numpy.load(sys.argv[2])
made = {}
for name in given.files:
    with torch.no_grad():
        try:
            made[name] = model(torch.from_numpy(given[name])).numpy()
        except Exception as error:
            made["error " + name] = numpy.array(type(error).__name__ + ": " + str(error))
numpy.savez(sys.argv[3], **made)
"""


def require_safe(folder: Path) -> None:
    """RegistryError where loading the folder could run code: a pickle, a loader, an operator that is none of tensors.

    A folder that passes may be given to a plain ``mlflow.pytorch.load_model``. Nothing of it is loaded here.
    """
    description.check_folder(folder)
    archive.require_plain(folder / description.EXPORTED)


def check_safe(folder: Path) -> None:
    """As require_safe, where the pickle of an earlier release's example may stay: it is not read."""
    description.check_folder(folder)
    archive.is_plain(folder / description.EXPORTED)


def make_safe(folder: Path) -> None:
    """As require_safe; of an earlier release's model the pickle of its example is left out, unread."""
    description.check_folder(folder)
    exported = folder / description.EXPORTED
    if not archive.is_plain(exported):
        former = exported.replace(exported.with_name("former.pt2"))
        archive.rewrite(former, exported)
        former.unlink()


def input_range(folder: Path) -> str:
    """Of a generator ``0..1`` (uint8 too) or, by an earlier release, ``-1..1``; '' of a retrieval network."""
    found = description.metadata(folder)
    if found.get("input_range") in (names.UNIT_RANGE, names.SIGNED_RANGE):
        return str(found["input_range"])
    return names.SIGNED_RANGE if {"method", "stride"} <= set(found) else ""


def load_folder(folder: Path) -> Network:
    """A model's folder as a function of arrays; nothing of it is unpickled, whatever it holds.

    A generator takes float32 in [0, 1] or uint8 and gives float32 in [0, 1], an earlier release's too; a retrieval
    network takes what it was trained on.
    """
    with scratch("load") as above:
        plain = _plain(folder, above)
        torch = importlib.import_module("torch")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = torch.export.load(str(plain / description.EXPORTED)).module()
        except Exception as error:  # torch.export raises many kinds
            raise RegistryError(f"the model in {folder} does not load: {brief_error(error)}") from error

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(np.ascontiguousarray(images))))

    return _unit(run) if input_range(folder) == names.SIGNED_RANGE else run


def check_folder(
    folder: Path,
    eager: Network,
    sizes: Sequence[tuple[int, int]] = CHECK_SIZES,
    batches: Sequence[int] = CHECK_BATCHES,
    tolerance: float = 1e-4,
    low: float = -1.0,
) -> float:
    """Load the model in a fresh process without d2n, compare it with `eager` at every batch and size; the difference.

    `eager` takes and gives images in [-1, 1], as a generator trains; a stored one that takes [0, 1] is given the
    same images in its range, and as uint8 too. Inputs are uniform in [low, 1] (low 0 for retrieval networks).
    RegistryError when the model is not safe, does not load, fails at a size, or differs by more than `tolerance`
    (absolute, or relative to the output's largest value).
    """
    rng = np.random.default_rng(0)
    is_unit = input_range(folder) == names.UNIT_RANGE
    given: dict[str, np.ndarray] = {}
    expected: dict[str, np.ndarray] = {}
    for height, width in sizes:
        for batch in batches:
            shape = (batch, 3, height, width)
            images = rng.uniform(low, 1, shape).astype(np.float32)
            name = "x".join(map(str, shape))
            given[name] = (images + 1) / 2 if is_unit else images
            expected[name] = _to_unit(eager(given[name] * 2 - 1)) if is_unit else np.asarray(eager(images))
    if is_unit:
        height, width = sizes[-1]
        given["uint8"] = rng.integers(0, 256, (1, 3, height, width), dtype=np.uint8)
        expected["uint8"] = _to_unit(eager(given["uint8"].astype(np.float32) / np.float32(127.5) - 1))
    found = run_fresh(folder, given)
    return max(_difference(name, found, expected[name], tolerance) for name in given)


def run_fresh(folder: Path, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model makes of each array where mlflow and torch are alone; ``error NAME`` where it fails."""
    with scratch("check") as above:
        plain = _plain(folder, above)
        np.savez(above / "in.npz", **given)  # type: ignore[arg-type]  # the stubs take no names
        command = [sys.executable, "-c", _FRESH, str(plain), str(above / "in.npz"), str(above / "out.npz")]
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, and arguments that are paths
                command,
                cwd=above,
                env=_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=_LOAD_S,
            )
        except subprocess.TimeoutExpired as error:
            raise RegistryError(f"the model in {folder} did not answer within {_LOAD_S} s") from error
        if done.returncode:
            said = (secrets.scrub(done.stderr).strip().splitlines() or [f"exit {done.returncode}"])[-1]
            raise RegistryError(
                f"the model in {folder} does not load with mlflow and torch alone: {said[:300]}"
            )
        with np.load(above / "out.npz", allow_pickle=False) as made:
            return {name: made[name] for name in made.files}


def mlflow_module(name: str) -> Any:
    """One of MLflow's flavours, imported without the warnings about MLflow's own type hints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mlflow.pyfunc")
        return importlib.import_module(name)


def brief_error(error: BaseException) -> str:
    """The first line of an error, by its kind."""
    lines = [line.strip() for line in secrets.scrub(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"


def _plain(folder: Path, above: Path) -> Path:
    """A copy of the model's two files under a plain name (MLflow reads paths as URIs), without a pickle."""
    description.check_folder(folder)
    target = above / "model"
    (target / "data").mkdir(parents=True)
    described = (folder / description.DESCRIPTION).read_bytes()
    (target / description.DESCRIPTION).write_bytes(described)
    exported = folder / description.EXPORTED
    copy = target / description.EXPORTED
    if archive.is_plain(exported):
        copy.write_bytes(exported.read_bytes())
    else:
        archive.rewrite(exported, copy)
    archive.require_plain(copy)
    return target


def _environment() -> dict[str, str]:
    """MLflow's strict mode, which refuses archives with anything that torch would unpickle."""
    strict = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**os.environ, **strict}


def _unit(signed: Network) -> Network:
    """A network from and to [-1, 1] as one from [0, 1] or uint8 to [0, 1]."""

    def run(images: np.ndarray) -> np.ndarray:
        if images.dtype == np.uint8:
            return _to_unit(signed(images.astype(np.float32) / np.float32(127.5) - 1))
        return _to_unit(signed(images * 2 - 1))

    return run


def _to_unit(images: np.ndarray) -> np.ndarray:
    return np.asarray(((np.asarray(images) + 1) / 2).clip(0, 1))


def _difference(name: str, made: dict[str, np.ndarray], expected: np.ndarray, tolerance: float) -> float:
    if f"error {name}" in made:
        said = str(made[f"error {name}"]).strip().splitlines()[0][:300]
        raise RegistryError(f"the stored model fails at {name}: {said}")
    found = made[name]
    if found.shape != expected.shape:
        raise RegistryError(f"the stored model gives {found.shape} at {name}, expected {expected.shape}")
    worst = float(np.abs(found - expected).max(initial=0.0))
    if not worst <= tolerance * max(1.0, float(np.abs(expected).max(initial=0.0))):
        raise RegistryError(
            f"the stored model differs from the trained one by {worst:.2g} at {name}, expected at most {tolerance:.2g}"
        )
    return worst
