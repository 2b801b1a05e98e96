"""Generators as torch.export programs for any batch and image size: they load where d2n is not installed.

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


class AnySize(nn.Module):
    """A generator in eval mode with its padding inside: (B, 3, H, W) in [-1, 1] to the same shape.

    Pads by periodic reflection, centred, the odd pixel right and bottom; the same pixels as ``translate_batch``
    wherever the sides are large enough to reflect once (smaller ones are replicated there, reflected on here).
    """

    def __init__(self, generator: nn.Module, stride: int) -> None:
        super().__init__()
        self.generator, self.stride = generator, stride
        self.fewest = max(1, cast(int, getattr(generator, "smallest_side", stride)) // stride)

    def forward(self, day: Tensor) -> Tensor:
        top, rows = self._reflected(day.shape[-2], day.device)
        left, columns = self._reflected(day.shape[-1], day.device)
        night = self.generator(day.index_select(-2, rows).index_select(-1, columns))
        inside_rows = torch.arange(day.shape[-2], device=day.device) + top
        inside_columns = torch.arange(day.shape[-1], device=day.device) + left
        return cast(Tensor, night.index_select(-2, inside_rows).index_select(-1, inside_columns))

    def _reflected(self, side: int, device: torch.device) -> tuple[int, Tensor]:
        """Pad before, and for each of stride * k padded positions the index of the pixel that stands there."""
        k = cast(int, torch.tensor((side + self.stride - 1) // self.stride).clamp(min=self.fewest).item())
        torch._check(k >= self.fewest)
        torch._check(k <= MAX_MULTIPLE)
        before = (self.stride * k - side) // 2
        position = torch.arange(self.stride * k, device=device) - before
        period = max(2 * side - 2, 1) if isinstance(side, int) else torch.sym_max(2 * side - 2, 1)
        folded = torch.remainder(position, period)
        return before, torch.minimum(folded, period - folded)


def exportable(generator: nn.Module, stride: int, inference_norm: InferenceNorm = "running") -> AnySize:
    """A copy on the CPU, in eval mode, in float32, for any size; ready for torch.export with dynamic B, H and W."""
    twin = copy.deepcopy(generator).cpu().float().to(memory_format=torch.contiguous_format)
    set_inference_norm(twin, inference_norm)
    return AnySize(twin, stride).eval().requires_grad_(False)


def export_program(
    generator: nn.Module, stride: int, inference_norm: InferenceNorm = "running"
) -> torch.export.ExportedProgram:
    """The exported program; save it with torch.export.save, call it by ``.module()``."""
    module = exportable(generator, stride, inference_norm)
    auto = torch.export.Dim.AUTO
    example = torch.zeros(2, 3, 2 * stride + 3, 3 * stride + 1)
    return torch.export.export(
        module, (example,), dynamic_shapes=({0: auto, 2: auto, 3: auto},), strict=False
    )
