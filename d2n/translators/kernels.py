"""Triton kernels for images in channels_last: instance norm, and padding by reflection, forward and backward.

Instance norm takes three passes over the images and five back, padding one each; out of torch's own operations they
take three to five times as many (nhwc.py). Triton comes with torch where torch has CUDA. What a program adds up it adds
in a fixed order, and nobody else adds to it: the same numbers each time. Images are (B, rows, C) for the norm, rows
the pixels, and (B, H, W C) for the padding.
"""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _CHANNELS = tl.constexpr(64), tl.constexpr(64)  # of a tile
_MOST_PARTS = tl.constexpr(64)
_BLOCK = tl.constexpr(1024)  # of a row's numbers
_PROGRAMS = 1024  # enough for every multiprocessor of a large GPU


@triton.jit
def _begin(rows, C: tl.constexpr):
    """This program's place: an image's first number, the channels, which of them there are, which part of the rows."""
    c = tl.program_id(1) * _CHANNELS + tl.arange(0, _CHANNELS)
    return tl.program_id(0).to(tl.int64) * rows * C, c, c < C, tl.program_id(2)


@triton.jit
def _tile(base, c, is_there, row, end, C: tl.constexpr):
    """Where the numbers of some rows from ``row`` on lie, and which of them there are."""
    r = row + tl.arange(0, _ROWS)
    mask = (r < end)[:, None] & is_there[None, :]
    return base + c[None, :] + r[:, None] * C, mask


@triton.jit
def _add_up(x, other, sums, told, C: tl.constexpr, BACK: tl.constexpr):
    """Sums over a part of the rows: of x - k and its square, k the first pixel; BACK: of x and of x * other."""
    rows, rows_each = told
    base, c, is_there, part = _begin(rows, C)
    shift = tl.load(x + base + c, mask=is_there, other=0).to(tl.float32)
    first = tl.zeros((_ROWS, _CHANNELS), dtype=tl.float32)
    second = tl.zeros((_ROWS, _CHANNELS), dtype=tl.float32)
    begin = part * rows_each
    end = tl.minimum(begin + rows_each, rows)
    for row in range(begin, end, _ROWS):
        place, mask = _tile(base, c, is_there, row, end, C)
        a = tl.load(x + place, mask=mask, other=0).to(tl.float32)
        if BACK:
            b = tl.load(other + place, mask=mask, other=0).to(tl.float32)
        else:
            a = tl.where(mask, a - shift[None, :], 0)
            b = a
        first += a
        second += a * b
    to = (tl.program_id(0) * tl.num_programs(2) + part) * 2 * C + c
    tl.store(sums + to, tl.sum(first, axis=0), mask=is_there)
    tl.store(sums + to + C, tl.sum(second, axis=0), mask=is_there)


@triton.jit
def _apply(x, other, out, sums, told, C: tl.constexpr, BACK: tl.constexpr):
    """(x - mean) * scale, the scales stored; BACK: scale * (x - mean(x) - other * mean(x * other))."""
    rows, rows_each, scales, eps = told
    base, c, is_there, part = _begin(rows, C)
    p = tl.arange(0, _MOST_PARTS)
    to = (tl.program_id(0) * tl.num_programs(2) + p)[:, None] * (2 * C) + c[None, :]
    known = (p < tl.num_programs(2))[:, None] & is_there[None, :]
    mean = tl.sum(tl.load(sums + to, mask=known, other=0), axis=0) / rows
    square = tl.sum(tl.load(sums + to + C, mask=known, other=0), axis=0) / rows
    of_image = scales + tl.program_id(0) * C + c
    if BACK:
        scale = tl.load(of_image, mask=is_there, other=0)
    else:
        scale = 1 / tl.sqrt(tl.maximum(square - mean * mean, 0) + eps)
        mean += tl.load(x + base + c, mask=is_there, other=0).to(tl.float32)
        tl.store(of_image, scale, mask=is_there & (part == 0))
    begin = part * rows_each
    end = tl.minimum(begin + rows_each, rows)
    for row in range(begin, end, _ROWS):
        place, mask = _tile(base, c, is_there, row, end, C)
        a = tl.load(x + place, mask=mask, other=0).to(tl.float32) - mean[None, :]
        if BACK:
            a -= tl.load(other + place, mask=mask, other=0).to(tl.float32) * square[None, :]
        tl.store(out + place, (a * scale[None, :]).to(out.dtype.element_ty), mask=mask)


def _on(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton computes on the present device, wherever the images lie."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else contextlib.nullcontext()


def normalized(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) in channels_last, bf16 or float32: each channel of each image to mean 0, variance 1.

    And what it was multiplied by, (B, C) float32.
    """
    out, scales = torch.empty_like(x), torch.empty(x.shape[:2], dtype=torch.float32, device=x.device)
    _run(x, x, out, scales, eps)
    return out, scales


def gradient(of_result: Tensor, result: Tensor, scales: Tensor) -> Tensor:
    """The gradient of the images, from that of ``normalized``'s result, both in channels_last."""
    out = torch.empty_like(result)
    _run(of_result, result, out, scales, None)
    return out


def _run(x: Tensor, other: Tensor, out: Tensor, scales: Tensor, eps: float | None) -> None:
    """Back where there is no eps."""
    batch, channels, height, width = x.shape
    rows, blocks = height * width, triton.cdiv(channels, _CHANNELS.value)
    wanted = min(triton.cdiv(_PROGRAMS, batch * blocks), _MOST_PARTS.value)
    rows_each = triton.cdiv(triton.cdiv(rows, wanted), _ROWS.value) * _ROWS.value
    parts = triton.cdiv(rows, rows_each)
    sums = torch.empty(batch, parts, 2, channels, dtype=torch.float32, device=x.device)
    grid, kind = (batch, blocks, parts), {"C": channels, "BACK": eps is None}
    with _on(x):
        _add_up[grid](x, other, sums, (rows, rows_each), **kind)
        _apply[grid](x, other, out, sums, (rows, rows_each, scales, eps or 0.0), **kind)


@triton.jit
def _reflect(at, last):
    """Where a place before 0 or behind ``last`` lies inside."""
    at = tl.maximum(at, -at)  # not tl.abs, behind which Triton no longer sees that loads lie side by side
    return tl.minimum(at, 2 * last - at)


@triton.jit
def _pad(x, out, height, width, p, C: tl.constexpr):
    """A row of a padded image."""
    padded_height = height + 2 * p
    row = tl.program_id(0)
    image, i = (row // padded_height).to(tl.int64), row % padded_height
    at = tl.program_id(1) * _BLOCK + tl.arange(0, _BLOCK)
    is_there = at < (width + 2 * p) * C
    source = (image * height + _reflect(i - p, height - 1)) * width * C
    source += _reflect(at // C - p, width - 1) * C + at % C
    value = tl.load(x + source, mask=is_there, other=0)
    tl.store(out + row.to(tl.int64) * (width + 2 * p) * C + at, value, mask=is_there)


@triton.jit
def _mirror(at, last, p, WHICH: tl.constexpr):
    """A place's copies in the padded image: itself, before the first, behind the last. And whether there is one."""
    if WHICH == 0:
        return at + p, at >= 0
    distance = at if WHICH == 1 else last - at
    is_there = (distance >= 1) & (distance <= p)
    return (p - at if WHICH == 1 else p + 2 * last - at), is_there


@triton.jit
def _unpad(gradient, out, height, width, p, C: tl.constexpr):
    """A row of an image's gradient: the sum over the places that it was copied to."""
    row = tl.program_id(0)
    image, i = (row // height).to(tl.int64), row % height
    at = tl.program_id(1) * _BLOCK + tl.arange(0, _BLOCK)
    is_there = at < width * C
    total = tl.zeros((_BLOCK,), dtype=tl.float32)
    for vertical in tl.static_range(3):
        y, is_row = _mirror(i, height - 1, p, vertical)
        for horizontal in tl.static_range(3):
            x, is_column = _mirror(at // C, width - 1, p, horizontal)
            source = ((image * (height + 2 * p) + y) * (width + 2 * p) + x) * C + at % C
            mask = is_there & is_row & is_column
            total += tl.load(gradient + source, mask=mask, other=0).to(tl.float32)
    tl.store(out + row.to(tl.int64) * width * C + at, total.to(out.dtype.element_ty), mask=is_there)


def reflected(x: Tensor, pixels: int) -> Tensor:
    """(B, C, H, W) in channels_last to (B, C, H + 2 p, W + 2 p); p under H and W."""
    batch, channels, height, width = x.shape
    size = batch, channels, height + 2 * pixels, width + 2 * pixels
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    grid = (batch * size[2], triton.cdiv(size[3] * channels, _BLOCK.value))
    with _on(x):
        _pad[grid](x, out, height, width, pixels, C=channels)
    return out


def reflected_back(gradient: Tensor, pixels: int) -> Tensor:
    """The gradient of the images, from that of ``reflected``'s result in channels_last."""
    batch, channels, height, width = gradient.shape
    size = batch, channels, height - 2 * pixels, width - 2 * pixels
    out = torch.empty(size, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
    grid = (batch * size[2], triton.cdiv(size[3] * channels, _BLOCK.value))
    with _on(gradient):
        _unpad[grid](gradient, out, size[2], size[3], pixels, C=channels)
    return out
