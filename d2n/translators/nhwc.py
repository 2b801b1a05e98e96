"""Images in channels_last on a GPU: what CUDA's own kernels would lay out anew, or add up in no fixed order.

Reflection padding and instance norm of torch 2.11 take and give the other layout there, a copy before and behind each,
and the padding's gradients come by atomic additions there, so that two runs of one seed differ. These keep the layout,
and give the same numbers each time. Compiled by torch.compile they are plain operations, which it fuses with their
neighbours; else they are Triton's kernels (kernels.py), or, where those cannot be built, some of torch's operations.
(B, C, H, W) all.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

logger = logging.getLogger(__name__)

_SIDES = (2, 3)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side, and the pixels behind each other."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def reflected(x: Tensor, pixels: int) -> Tensor:
    """(B, C, H + 2 p, W + 2 p): p pixels around each image, by reflection; p under H and W."""
    if torch.compiler.is_compiling() or not _pays(x) or pixels >= min(x.shape[2:]):
        return F.pad(x, (pixels,) * 4, mode="reflect")
    return cast(Tensor, _Reflected.apply(x, pixels))


def instance_norm(x: Tensor, eps: float) -> Tensor:
    """Each channel of each image to mean 0, variance 1; statistics in at least float32, the result in x's type."""
    if torch.compiler.is_compiling() and x.device.type == "cuda":
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=_SIDES, correction=0, keepdim=True)
        return ((wide - mean) * torch.rsqrt(variance + eps)).to(x.dtype)
    if not _pays(x):
        return F.instance_norm(x, eps=eps)
    return cast(Tensor, _InstanceNorm.apply(x, eps))


def _pays(x: Tensor) -> bool:
    """On a GPU, in that layout."""
    return x.device.type == "cuda" and is_channels_last(x)


def _laid_out(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _kernels_for(x: Tensor) -> ModuleType | None:
    """Triton's kernels where they can compute on this."""
    return _kernels(x.device) if x.device.type == "cuda" and x.dtype != torch.float64 else None


@lru_cache(maxsize=16)
def _kernels(device: torch.device) -> ModuleType | None:
    try:
        from d2n.translators import kernels  # Triton is not everywhere

        few = torch.zeros(1, 2, 2, 2, device=device).to(memory_format=torch.channels_last)
        y, scales = kernels.normalized(kernels.reflected(few, 1), 1e-5)  # needs a C compiler
        kernels.reflected_back(kernels.gradient(y, y, scales), 1)
    except Exception as error:  # noqa: BLE001 - whatever a compiler, its cache or a driver may raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.warning("no Triton kernels on %s (%s): instance norm and padding are slower", device, reason)
        return None
    return kernels


class _Reflected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: int) -> Tensor:
        ctx.pixels = p
        if (kernels := _kernels_for(x)) is not None:
            return cast(Tensor, kernels.reflected(x, p))
        batch, channels, height, width = x.shape
        y = x.new_empty(batch, height + 2 * p, width + 2 * p, channels).permute(0, 3, 1, 2)
        inside = y[:, :, p:-p]
        inside[..., p:-p] = x
        inside[..., :p] = _flipped(x[..., 1 : p + 1], 3)
        inside[..., -p:] = _flipped(x[..., -p - 1 : -1], 3)
        y[:, :, :p] = _flipped(y[:, :, p + 1 : 2 * p + 1], 2)
        y[:, :, -p:] = _flipped(y[:, :, -2 * p - 1 : -p - 1], 2)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        p = ctx.pixels
        if (kernels := _kernels_for(gradient)) is not None:
            return cast(Tensor, kernels.reflected_back(_laid_out(gradient), p)), None
        found = _without_columns(gradient[:, :, p:-p], p)
        found[:, :, 1 : p + 1] += _flipped(_without_columns(gradient[:, :, :p], p), 2)
        found[:, :, -p - 1 : -1] += _flipped(_without_columns(gradient[:, :, -p:], p), 2)
        return found, None


def _without_columns(gradient: Tensor, p: int) -> Tensor:
    """Gradients of padded rows to those of the rows, in channels_last."""
    found = torch.empty_like(gradient[..., p:-p], memory_format=torch.channels_last).copy_(
        gradient[..., p:-p]
    )
    found[..., 1 : p + 1] += _flipped(gradient[..., :p], 3)
    found[..., -p - 1 : -1] += _flipped(gradient[..., -p:], 3)
    return found


def _flipped(x: Tensor, dim: int) -> Tensor:
    return x if x.shape[dim] == 1 else x.flip(dim)


class _InstanceNorm(torch.autograd.Function):
    """Without kernels in as few passes as torch allows, none of which stores a large tensor in another type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        if (kernels := _kernels_for(x)) is not None:
            y, scale = kernels.normalized(x, eps)
            ctx.save_for_backward(y, scale)
            return cast(Tensor, y)
        mean, variance = _statistics(x)
        scale = torch.rsqrt(variance + eps)
        y = torch.addcmul(-mean * scale, x, scale, out=torch.empty_like(x))
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """scale * (g - mean(g) - y * mean(g * y)): Ioffe and Szegedy 2015, 3, of one image's statistics."""
        y, scale = ctx.saved_tensors
        gradient = _laid_out(gradient)
        if (kernels := _kernels_for(y)) is not None:
            return cast(Tensor, kernels.gradient(gradient, y, scale)), None
        wide = scale.dtype
        mean = gradient.mean(_SIDES, keepdim=True, dtype=wide)
        along = (gradient * y).mean(_SIDES, keepdim=True, dtype=wide)
        taken = torch.addcmul(-scale * mean, y, -scale * along, out=torch.empty_like(y))
        return torch.addcmul(taken, gradient, scale, out=taken), None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, (B, C, 1, 1) each, in at least float32."""
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.dtype == wide:
        variance, mean = torch.var_mean(x, dim=_SIDES, correction=0, keepdim=True)
        return mean, variance
    mean = x.mean(_SIDES, keepdim=True, dtype=wide)
    norm = torch.linalg.vector_norm(x, 2, _SIDES, keepdim=True, dtype=wide)
    square = norm.square() / (x.shape[2] * x.shape[3])
    return mean, (square - mean.square()).clamp_min(0)
