"""Normalisation layers: batch (with a choice of statistics at inference), instance, none."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.translators import nhwc

Norm = Literal["batch", "instance", "none"]
InferenceNorm = Literal["batch", "running"]


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d whose evaluation may take each image's own statistics instead of the running ones.

    Isola et al. 2017 (3.3) test in train mode with a batch of one; ``inference_norm = "batch"`` does that
    for each image by itself, so that a result does not depend on which images share its batch.
    """

    inference_norm: InferenceNorm = "running"

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.inference_norm == "running":
            return _dense_gradient(super().forward(x))
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0, variance 1 (Ulyanov et al. 2016); no parameters."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cuda":
            return nhwc.instance_norm(x, self.eps)
        if not x.requires_grad:
            return F.instance_norm(x, eps=self.eps)
        if x.shape[0] == 1:
            return self._of_one(x)
        if x.is_contiguous():
            return F.instance_norm(x, eps=self.eps)
        return torch.cat([self._of_one(image) for image in x.chunk(x.shape[0])])  # channels_last stays

    def _of_one(self, image: Tensor) -> Tensor:
        """Batch norm of one image is instance norm, and fast in channels_last.

        F.instance_norm of one image on the CPU gets its gradient wrong when the gradient that arrives is in
        channels_last (torch 2.14): tests/translators/test_norms.py compares every layout.
        """
        return _dense_gradient(F.batch_norm(image, None, None, training=True, eps=self.eps))


def _dense_gradient(x: Tensor) -> Tensor:
    """``x``, whose gradient is copied to lie as ``x`` does where it comes as a part of a larger one.

    Such parts come back from the concatenations of a U-Net. Batch norm's backward pass on the CPU takes many times
    as long on them (benchmarks/test_translators.py -k gradient prints the ratio), and on a GPU leaves channels_last.
    """
    if x.device.type in ("cpu", "cuda") and x.requires_grad and not torch.compiler.is_compiling():
        layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return x


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """The layer of that name for (B, channels, H, W)."""
    if norm == "batch":
        return BatchNorm(channels)
    return InstanceNorm(channels) if norm == "instance" else nn.Identity()


def set_inference_norm(module: nn.Module, inference_norm: InferenceNorm) -> None:
    """Choose for every batch norm inside which statistics it takes in eval mode; in place."""
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.inference_norm = inference_norm
