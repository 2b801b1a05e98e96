"""What published retrieval networks say of themselves: architecture, normalisation, CLAHE, learned whitening.

cirtorch (Radenović et al. 2019) writes ``{"meta", "state_dict"}``, mdir (Jenicek and Chum 2019) and gandtr (Mohwald
et al. 2023) ``{"network_params", "model_state"}``, alone or below ``net``. Whitening lies in ``meta["Lw"]`` by data set
and by ``ss`` or ``ms`` (one scale, several), or in a file of ``m`` and ``P`` beside the network's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from d2n.backbones.weights import read_weights_file
from d2n.errors import WeightsError
from d2n.files.pickle import read_pickle
from d2n.files.reading import brief, one_line
from d2n.retrieval.whitening import Whitening

_PREFERRED = "retrieval-SfM-120k"  # the whitening that published numbers were taken with
_CLAHE, _OTHERS = "apply_clahe", ("pil2np", "totensor", "normalize", "stackbatch", "nan_check")
_DEFAULT_CLIP, _DEFAULT_GRID = 4.0, 8


@dataclass(frozen=True)
class Meta:
    """A checkpoint's description of its network."""

    architecture: Any
    pooling: Any
    state: Any  # its tensors by name
    unsupported: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None  # of RGB in [0, 1]; None: not said
    std: tuple[float, ...] | None = None
    clahe: tuple[float, int] | None = None  # clip limit and grid of what every image goes through
    whitenings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by data set: ss, ms


def inner(content: Any) -> Any:
    """The network below ``net``, where a checkpoint holds one."""
    net = content.get("net") if isinstance(content, Mapping) else None
    return net if isinstance(net, Mapping) and "model_state" not in content else content


def is_published(content: Any) -> bool:
    """Whether a file's content is a checkpoint of cirtorch, mdir or gandtr."""
    return isinstance(content, Mapping) and (
        {"meta", "state_dict"} <= content.keys() or {"network_params", "model_state"} <= content.keys()
    )


def read_meta(content: Mapping[str, Any], source: str) -> Meta:
    """What a published checkpoint says; WeightsError, beginning with ``source``, where that is no description."""
    if "state_dict" in content:
        told = _mapping(content["meta"], source)
        numbers, transforms, key, state = told, "", "architecture", content["state_dict"]
        mean, std = told.get("mean"), told.get("std")
    else:
        params = _mapping(content["network_params"], source)
        told = _mapping(params.get("model", {}), source)
        runtime = _mapping(params.get("runtime", {}), source)
        numbers = _mapping(runtime.get("data", {}) or {}, source)
        transforms = numbers.get("transforms", numbers.get("augmentations", ""))
        key, state = "cir_architecture", content["model_state"]
        mean, std = _pair(numbers.get("mean_std"), source)
    whitenings = told.get("Lw") or {}
    return Meta(
        told.get(key),
        told.get("pooling"),
        state,
        tuple(part for part in ("regional", "local_whitening") if told.get(part)),
        _channels(mean, "mean", source),
        _channels(std, "std", source),
        _clahe(transforms, source),
        _mapping(whitenings, source),
    )


def stored_whitening(
    meta: Meta, scales: Sequence[float], source: str, name: str | None = None
) -> Whitening | None:
    """The one in ``meta["Lw"]``: that of ``name``, of retrieval-SfM-120k, or the only one; None: there is none."""
    if not meta.whitenings:
        return None
    chosen = name or (_PREFERRED if _PREFERRED in meta.whitenings else next(iter(meta.whitenings)))
    if chosen not in meta.whitenings:
        known = one_line(", ".join(map(str, meta.whitenings)), 200)
        raise WeightsError(f"{source}: no whitening {brief(chosen)} in its Lw, found {known}")
    if len(meta.whitenings) > 1 and name is None and _PREFERRED not in meta.whitenings:
        known = one_line(", ".join(map(str, meta.whitenings)), 200)
        raise WeightsError(f"{source}: several whitenings in its Lw ({known}); name one with --whitening")
    part = "ms" if len(scales) > 1 else "ss"
    found = _mapping(meta.whitenings[chosen], source)
    if part not in found:
        raise WeightsError(
            f"{source}: its whitening {brief(chosen)} has no part {part!r} ({len(scales)} scales), found "
            f"{one_line(', '.join(map(str, found)), 100)}; give other --scales"
        )
    return as_whitening(found[part], source)


def read_whitening(path: str | Path) -> Whitening:
    """A file of ``m`` and ``P``: a pickle (``*_lw.pkl``), or what torch saved (``.pth``, ``.pth_whiten``)."""
    path = Path(path)
    if path.suffix == ".pkl":
        content = read_pickle(path, WeightsError, absent="no such whitening")
    else:
        content = read_weights_file(path, "no such whitening", "not a whitening that can be read safely")
    return as_whitening(content, str(path))


def whitening_beside(path: Path, scales: Sequence[float]) -> Path | None:
    """The file that published code leaves beside a network's: NAME_lw.pkl, NAME.pth_whiten, …_whiten[_ms].pth."""
    several = "_ms" if len(scales) > 1 else ""
    named = [path.with_name(f"{path.stem}_lw.pkl"), path.with_name(f"{path.name}_whiten")]
    named += [path.with_name(f"{path.name}_{_PREFERRED}_whiten{several}.pth")]
    return next((one for one in named if one.is_file()), None)


def as_whitening(content: Any, source: str) -> Whitening:
    """``m`` (D,) or (D, 1) and ``P`` (R, D) as a Whitening; WeightsError for anything else."""
    expected = "expected a mean m (D,) and a projection P (R, D)"
    if not isinstance(content, Mapping) or not {"m", "P"} <= content.keys():
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError(f"{source}: no whitening, it holds {one_line(found, 100)}; {expected}")
    try:
        mean, projection = (np.asarray(content[key], dtype=np.float64) for key in ("m", "P"))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{source}: no whitening, its m or P are no numbers; {expected}") from error
    mean = mean.reshape(-1)
    if projection.ndim != 2 or projection.shape[1] != mean.size or projection.shape[0] > mean.size:
        raise WeightsError(f"{source}: a whitening of m {mean.shape} and P {projection.shape}; {expected}")
    if not (np.isfinite(mean).all() and np.isfinite(projection).all()):
        raise WeightsError(f"{source}: a whitening with numbers that are not finite")
    return Whitening(mean, projection)


def _mapping(value: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WeightsError(f"{source}: its description is {type(value).__name__}, expected names with values")
    return value


def _pair(value: Any, source: str) -> tuple[Any, Any]:
    if value is None:
        return None, None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise WeightsError(f"{source}: its mean_std is {brief(value)}, expected two lists of 3 numbers")
    return value[0], value[1]


def _channels(value: Any, name: str, source: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        numbers = ()
    least = 0.0 if name == "std" else -math.inf
    if len(numbers) != 3 or not all(math.isfinite(one) and one > least for one in numbers):
        raise WeightsError(f"{source}: its {name} is {brief(value)}, expected 3 numbers, one a channel")
    return numbers


def _clahe(transforms: Any, source: str) -> tuple[float, int] | None:
    """Clip limit and grid of ``pil2np | apply_clahe:1.0 | totensor | normalize``; None without that step."""
    if not isinstance(transforms, str):
        raise WeightsError(f"{source}: its transforms are {brief(transforms)}, expected names with | between")
    found = None
    for step in filter(None, (part.strip() for part in transforms.split("|"))):
        name, *arguments = step.split(":")
        if name == _CLAHE:
            found = _clahe_numbers(arguments, step, source)
        elif name not in _OTHERS and not name.startswith(
            ("downscale", "center", "mirror", "random", "scalecrop")
        ):
            raise WeightsError(f"{source}: its images go through {brief(step)}, which is not known here")
    return found


def _clahe_numbers(arguments: Sequence[str], step: str, source: str) -> tuple[float, int]:
    try:
        clip = float(arguments[0]) if arguments else _DEFAULT_CLIP
        grid = int(arguments[1]) if len(arguments) > 1 else _DEFAULT_GRID
    except ValueError:
        clip, grid = math.nan, 0
    space = arguments[2] if len(arguments) > 2 else "lab"
    if not (math.isfinite(clip) and clip > 0 and grid >= 1 and space == "lab"):
        raise WeightsError(f"{source}: {brief(step)}, expected apply_clahe:CLIP:GRID:lab of positive numbers")
    return clip, grid
