"""Generators in the formats of other tools: ONNX and TorchScript, (N, 3, H, W) float32 in [0, 1] to the same."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from d2n.errors import WeightsError
from d2n.translators.export import SMALLEST_SIDE_PX, AnySize, exportable

OPSET = 18
_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


class UnitRange(nn.Module):
    """A generator with its padding, from and to [0, 1]; what comes in is not checked."""

    def __init__(self, network: AnySize) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        night = self.network(images.clamp(0, 1) * 2 - 1)
        return cast(Tensor, ((night + 1) / 2).clamp(0, 1))


def require_packages(format: str) -> None:  # noqa: A002 - as the command line calls it
    """WeightsError, with the command that brings them, where a format's packages are absent."""
    absent = [name for name in _PACKAGES.get(format, ()) if importlib.util.find_spec(name) is None]
    if absent:
        raise WeightsError(f"{format} needs {', '.join(absent)}: pip install 'd2n[export]'")


def write_onnx(generator: nn.Module, stride: int, path: Path) -> None:
    """A file that onnxruntime runs at any batch and size; WeightsError where torch cannot write it."""
    example, shapes = _example(stride)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, on the exporter it uses
            program = torch.export.export(
                _unit(generator, stride), (example,), dynamic_shapes=shapes, strict=False
            )
            made = torch.onnx.export(
                program, input_names=["images"], output_names=["night"], opset_version=OPSET, verbose=False
            )
            cast(Any, made).save(str(path), external_data=False)
    except OSError:
        raise  # of the disk
    except Exception as error:  # the exporter raises many kinds
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise WeightsError(
            f"the generator does not export to ONNX: {type(error).__name__}: {said}"
        ) from error


def run_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The file as a function of arrays, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def write_torchscript(generator: nn.Module, stride: int, path: Path) -> None:
    """A file for torch.jit.load, at any batch and size; no class of it is needed there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: TorchScript is frozen, and traces have conditions
        jit: Any = torch.jit  # untyped
        traced = jit.trace(_Scripted(_unit(generator, stride)), _example(stride)[0], check_trace=False)
        written = io.BytesIO()
        jit.save(traced, written)  # a file on a full disk would end the process in torch's own writer
    path.write_bytes(written.getbuffer())


def run_torchscript(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The file as a function of arrays, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jit: Any = torch.jit  # untyped
        loaded = jit.load(str(path), map_location="cpu")

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(loaded(torch.from_numpy(images)))

    return run


class _Scripted(nn.Module):
    """The same padding as AnySize, by tensors: a trace writes plain numbers down."""

    def __init__(self, unit: UnitRange) -> None:
        super().__init__()
        self.network = unit.network

    def forward(self, images: Tensor) -> Tensor:
        day = images.clamp(0, 1) * 2 - 1
        height, width = _sides(day)
        top, tall = self._padded(height)
        left, wide = self._padded(width)
        reflects = (tall - height - top < height) & (wide - width - left < width)
        rows, columns = _source(tall, top, height, reflects), _source(wide, left, width, reflects)
        night = self.network.generator(day.index_select(2, rows).index_select(3, columns))
        inside_rows = torch.arange(cast(Any, height)) + top
        inside_columns = torch.arange(cast(Any, width)) + left
        night = night.index_select(2, inside_rows).index_select(3, inside_columns)
        return cast(Tensor, ((night + 1) / 2).clamp(0, 1))

    def _padded(self, side: Tensor) -> tuple[Tensor, Tensor]:
        stride = self.network.stride
        whole = ((side + stride - 1) // stride).clamp(min=self.network.fewest) * stride
        return (whole - side) // 2, whole


def _sides(images: Tensor) -> tuple[Tensor, Tensor]:
    shape = torch._shape_as_tensor(images)
    return shape[2], shape[3]


def _source(padded: Tensor, before: Tensor, side: Tensor, reflects: Tensor) -> Tensor:
    position = torch.arange(cast(Any, padded)) - before
    period = (2 * side - 2).clamp(min=1)
    folded = torch.remainder(position, period)
    clamped = torch.minimum(position.clamp(min=0), side - 1)
    return torch.where(reflects, torch.minimum(folded, period - folded), clamped)


def _unit(generator: nn.Module, stride: int) -> UnitRange:
    norm = next(
        (part.inference_norm for part in generator.modules() if hasattr(part, "inference_norm")), "running"
    )
    return UnitRange(exportable(generator, stride, cast(Any, norm))).eval().requires_grad_(False)


def _example(stride: int) -> tuple[Tensor, Any]:
    auto = torch.export.Dim.AUTO
    side = max(stride, SMALLEST_SIDE_PX)
    return torch.zeros(2, 3, side + 3, 2 * side + 1), ({0: auto, 2: auto, 3: auto},)
