"""Generators as torch.export programs for any batch and image size: they load where d2n is not installed.

What people get takes photographs as they have them, float32 in [0, 1] or uint8, and says in one line what is wrong
with anything else. One program serves both types: torch.export keeps operators, not the types they were traced with,
so the program finds out by arithmetic what came in (255 is what 0 - 1 is in uint8) and scales by it.

Plain padding arithmetic fails the exporter's guards in a U-Net, whose sides must divide by 2^depth. So the padded
side is written as ``stride * k`` with k a fresh symbol, and padding and cropping gather rows and columns by index.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from d2n.translators.norms import InferenceNorm, set_inference_norm

MAX_MULTIPLE = 1 << 16  # of the stride: a bound on sides that the exporter asks for
SMALLEST_SIDE_PX = 16
ROUNDING = 1e-5  # how far resizing may leave [0, 1]


class AnySize(nn.Module):
    """A generator in eval mode with its padding inside: (B, 3, H, W) in [-1, 1] to the same shape.

    The same pixels as ``translate_batch``: padded by reflection, centred, the odd pixel right and bottom; by
    replication on both axes where a side is too small to reflect.
    """

    def __init__(self, generator: nn.Module, stride: int) -> None:
        super().__init__()
        self.generator, self.stride = generator, stride
        self.fewest = max(1, cast(int, getattr(generator, "smallest_side", stride)) // stride)

    def forward(self, day: Tensor) -> Tensor:
        height, width = day.shape[-2:]
        top, tall = self._padded(height)
        left, wide = self._padded(width)
        y = torch.arange(self.stride * tall, device=day.device) - top
        x = torch.arange(self.stride * wide, device=day.device) - left
        reflects = _is_below(self.stride * tall - height - top, height, day) & _is_below(
            self.stride * wide - width - left, width, day
        )
        rows, columns = _source(y, height, reflects), _source(x, width, reflects)
        night = self.generator(day.index_select(-2, rows).index_select(-1, columns))
        inside_rows = torch.arange(height, device=day.device) + top
        inside_columns = torch.arange(width, device=day.device) + left
        return cast(Tensor, night.index_select(-2, inside_rows).index_select(-1, inside_columns))

    def _padded(self, side: int) -> tuple[int, int]:
        """Pixels before, and the multiple of the stride that the padded side is."""
        k = cast(int, torch.tensor((side + self.stride - 1) // self.stride).clamp(min=self.fewest).item())
        torch._check(k >= self.fewest)
        torch._check(k <= MAX_MULTIPLE)
        return (self.stride * k - side) // 2, k


class Photographs(nn.Module):
    """A generator for photographs: (N, 3, H, W), float32 in [0, 1] or uint8, to float32 in [0, 1] of that size.

    Sides of 16 pixels and more. RuntimeError, of one line, for other types, for values that are not finite or leave
    [0, 1], and for smaller sides.
    """

    def __init__(self, network: AnySize) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        is_byte = _is_byte(images)
        torch._assert_async(
            (is_byte | _is_float32(images)).all(),
            "images are neither float32 in [0, 1] nor uint8: convert them first",
        )
        height, width = images.shape[-2:]
        for side in (height, width):
            torch._assert_async(
                _held(side, images) >= SMALLEST_SIDE_PX,
                f"images have sides under {SMALLEST_SIDE_PX} pixels: enlarge them",
            )
        day = images / torch.where(is_byte, 127.5, 0.5) - 1
        torch._assert_async(
            torch.isfinite(day).all(), "images hold values that are not finite (NaN or inf), expected [0, 1]"
        )
        torch._assert_async(
            (day.abs() <= 1 + 2 * ROUNDING).all(),
            "images hold values outside [0, 1]: divide those of [0, 255] by 255, or pass uint8; shift and scale others",
        )
        night = self.network(day.clamp(-1, 1))
        return cast(Tensor, ((night + 1) / 2).clamp(0, 1))


def exportable(generator: nn.Module, stride: int, inference_norm: InferenceNorm = "running") -> AnySize:
    """A copy on the CPU, in eval mode, in float32, for any size; ready for torch.export with dynamic B, H and W."""
    twin = copy.deepcopy(generator).cpu().float().to(memory_format=torch.contiguous_format)
    set_inference_norm(twin, inference_norm)
    return AnySize(twin, stride).eval().requires_grad_(False)


def photographs(generator: nn.Module, stride: int, inference_norm: InferenceNorm = "running") -> Photographs:
    """As ``exportable``, from float32 in [0, 1] or uint8: what is logged and pulled."""
    return Photographs(exportable(generator, stride, inference_norm)).eval().requires_grad_(False)


def export_program(
    generator: nn.Module, stride: int, inference_norm: InferenceNorm = "running"
) -> torch.export.ExportedProgram:
    """The exported program of ``exportable``; save it with torch.export.save, call it by ``.module()``."""
    module = exportable(generator, stride, inference_norm)
    auto = torch.export.Dim.AUTO
    example = torch.zeros(2, 3, 2 * stride + 3, 3 * stride + 1)
    return torch.export.export(
        module, (example,), dynamic_shapes=({0: auto, 2: auto, 3: auto},), strict=False
    )


def _source(position: Tensor, side: int, reflects: Tensor) -> Tensor:
    """For each padded position the index of the pixel that stands there."""
    last = _held(side, position) - 1
    period = (2 * last).clamp(min=1)
    folded = torch.remainder(position, period)
    clamped = torch.minimum(position.clamp(min=0), last)
    return torch.where(reflects, torch.minimum(folded, period - folded), clamped)


def _is_below(size: int, bound: int, like: Tensor) -> Tensor:
    return _held(size, like) < _held(bound, like)


def _held(size: int, like: Tensor) -> Tensor:
    """A size as a tensor: it is not known when the program is traced."""
    return torch.full((), size, device=like.device, dtype=torch.int64)


def _is_byte(images: Tensor) -> Tensor:
    return images.new_full((1,), -1) * 1.0 == 255


def _is_float32(images: Tensor) -> Tensor:
    """Whether the type tells 1 + 2^-23 from 1 and does not tell 1 + 2^-40."""
    return (images.new_full((1,), 1 + 2**-23) != 1) & (images.new_full((1,), 1 + 2**-40) == 1)
