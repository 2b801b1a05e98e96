"""A generator on an image too large to go through whole: strip of rows by strip of rows, the whole image's result.

Tiles would not do: instance norm takes its mean and variance from what it sees, and a U-Net's innermost features see
the whole picture. Here every layer finishes its whole output before the next begins. A ``Field`` stands for an
activation (1, C, H, W) and goes through ``generator.forward`` as a tensor would (``__torch_function__``):
convolutions fill a full-resolution activation, strip by strip with the rows around that they need; norms take the
statistics of all strips, joined in float64; all else (activations, padding, resizing, concatenation) is done to the
rows that a convolution asks for, and never kept.

So memory is that of the input and the output of one layer (and a U-Net's skips), without copies that are padded,
normalised and activated: benchmarks/test_strips.py prints it. Multiplications are those of the whole image. What a
generator does beyond the functions listed at the end is done to the whole activation: right, and larger in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from d2n.errors import ImageError

logger = logging.getLogger(__name__)

STRIP_ELEMENTS = (
    1 << 28
)  # products that a strip of a convolution may gather: at most 1 GB in float32, mostly far less
_REACH = {"reflect": 1, "replicate": 0}  # rows of the image that a border of such a kind does not repeat

Rows = Callable[[int, int], Tensor]


class Field:
    """An activation (1, C, H, W) whose rows ``[first, last)`` are made when they are asked for."""

    requires_grad = False

    def __init__(
        self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, rows: Rows, cost: int = 0
    ) -> None:
        self.shape, self.dtype, self.device, self.rows = torch.Size(shape), dtype, device, rows
        self.cost = max(cost, self.shape[1] * self.shape[3])  # elements that a row takes to make
        self.is_stored = False

    @classmethod
    def of(cls, tensor: Tensor) -> Field:
        """A tensor (1, C, H, W) that is there already."""
        if tensor.dim() != 4 or tensor.shape[0] != 1:
            raise ImageError(f"strips of a tensor {tuple(tensor.shape)}: expected one image (1, C, H, W)")
        field = cls(tuple(tensor.shape), tensor.dtype, tensor.device, lambda a, b: tensor[:, :, a:b])
        field.is_stored = True
        return field

    def strips(self) -> Iterator[tuple[int, int]]:
        """(first, last) of consecutive strips of rows that fit STRIP_ELEMENTS, a row at least."""
        height, step = self.shape[2], max(1, STRIP_ELEMENTS // self.cost)
        return ((first, min(first + step, height)) for first in range(0, height, step))

    def stored(self) -> Field:
        """The same with all its rows made and kept."""
        if self.is_stored:
            return self
        nbytes = self.shape.numel() * self.dtype.itemsize
        if self.device.type == "cpu":
            refuse_beyond(psutil.virtual_memory().available, nbytes, self.shape)
        kept = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for first, last in self.strips():
            kept[:, :, first:last] = self.rows(first, last)
        return Field.of(kept)

    def tensor(self) -> Tensor:
        """All of it."""
        return self.stored().rows(0, self.shape[2])

    def dim(self) -> int:
        """4."""
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        """As of a tensor."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """As of a tensor."""
        return self.shape.numel()

    def is_contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> bool:
        """Whether strips lie so."""
        return memory_format == torch.contiguous_format

    def __add__(self, other: Any) -> Any:
        return torch.add(cast(Tensor, self), other)

    def __mul__(self, other: Any) -> Any:
        return torch.mul(cast(Tensor, self), other)

    def __sub__(self, other: Any) -> Any:
        return torch.sub(cast(Tensor, self), other)

    def __truediv__(self, other: Any) -> Any:
        return torch.div(cast(Tensor, self), other)

    def __neg__(self) -> Any:
        return torch.mul(cast(Tensor, self), -1)

    __radd__, __rmul__ = __add__, __mul__

    def __getitem__(self, key: Any) -> Any:
        cut = _crop(self, key if isinstance(key, tuple) else (key,))
        return _whole(torch.Tensor.__getitem__, (self, key), {}) if cut is None else cut

    def __getattr__(self, name: str) -> Any:
        method = getattr(torch.Tensor, name)
        if not callable(method):
            raise AttributeError(name)
        return lambda *args, **kwargs: _whole(method, (self, *args), kwargs)

    @classmethod
    def __torch_function__(
        cls, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = _FUNCTIONS.get(func)
        done = known(*args, **(kwargs or {})) if known is not None else None
        return _whole(func, args, kwargs or {}) if done is None else done


def refuse_beyond(free: int, nbytes: int, shape: torch.Size) -> None:
    """ImageError where an activation does not fit into what is free."""
    if nbytes > free:
        raise ImageError(
            f"a layer of {shape[1]} channels at {shape[3]} x {shape[2]} takes {nbytes / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB of memory are free: translate a smaller picture (--shorter-side-px)"
        )


def _whole(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``function`` of the tensors that fields stand for; a field again where it gives an image."""
    logger.info("%s is not done in strips: it takes a whole layer", getattr(function, "__name__", function))
    result = function(*(_unwrapped(a) for a in args), **{key: _unwrapped(v) for key, v in kwargs.items()})
    is_image = isinstance(result, Tensor) and result.dim() == 4 and result.shape[0] == 1
    return Field.of(result) if is_image else result


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Field):
        return value.tensor()
    return type(value)(map(_unwrapped, value)) if isinstance(value, list | tuple) else value


def _lazy(x: Field, rows: Rows, shape: tuple[int, ...] | None = None) -> Field:
    return Field(tuple(shape or x.shape), x.dtype, x.device, rows)


def _pointwise(function: Any) -> Callable[..., Field]:
    def apply(x: Field, *args: Any, inplace: bool = False, **kwargs: Any) -> Field:
        return _lazy(x, lambda a, b: function(x.rows(a, b), *args, **kwargs))

    return apply


def _arithmetic(function: Any) -> Callable[..., Field | None]:
    """Of two fields, kept (a residual block's sum would else be made anew by every later one); or with a scalar."""

    def apply(x: Any, y: Any, **rest: Any) -> Field | None:
        if rest:
            return None
        if isinstance(x, Field) and isinstance(y, Field):
            if x.shape != y.shape:
                return None
            return _lazy(x, lambda a, b: function(x.rows(a, b), y.rows(a, b))).stored()
        field, other = (x, y) if isinstance(x, Field) else (y, x)
        if isinstance(other, Tensor) and not (other.dim() == 0 or other.shape == (1, field.shape[1], 1, 1)):
            return None
        if field is x:
            return _lazy(field, lambda a, b: function(field.rows(a, b), other))
        return _lazy(field, lambda a, b: function(other, field.rows(a, b)))

    return apply


def _dropout(x: Field, p: float = 0.5, training: bool = True, inplace: bool = False) -> Field | None:
    return None if training else x


def _cat(tensors: Any, dim: int = 0) -> Field | None:
    if dim not in (1, -3):
        return None
    parts = [part if isinstance(part, Field) else Field.of(part) for part in tensors]
    shape = (1, sum(part.shape[1] for part in parts), *parts[0].shape[2:])
    return _lazy(parts[0], lambda a, b: torch.cat([part.rows(a, b) for part in parts], dim=1), shape)


def _pad(x: Field, pad: Any, mode: str = "constant", value: float | None = None) -> Field | None:
    if len(pad) != 4 or min(pad) < 0 or mode not in ("constant", *_REACH):
        return None
    left, right, top, bottom = pad
    _, channels, height, width = x.shape
    if mode == "reflect" and max(top, bottom) >= height:
        return None  # torch's own error

    def constant(first: int, last: int) -> Tensor:
        low, high = max(first - top, 0), min(last - top, height)
        if low >= high:
            size = (1, channels, last - first, width + left + right)
            return torch.full(size, value or 0.0, dtype=x.dtype, device=x.device)
        around = (left, right, low - (first - top), last - top - high)
        return F.pad(x.rows(low, high), around, value=value or 0.0)

    def mirrored(first: int, last: int) -> Tensor:
        index = torch.arange(first - top, last - top)
        if mode == "reflect":
            index = height - 1 - (height - 1 - index.abs()).abs()
        index = index.clamp(0, height - 1)
        low, high = int(index.min()), int(index.max()) + 1
        strip = x.rows(low, high)
        if high - low != last - first or int(index[0]) != low:
            strip = strip.index_select(2, (index - low).to(strip.device))
        return F.pad(strip, (left, right, 0, 0), mode=mode) if left or right else strip

    shape = (1, channels, height + top + bottom, width + left + right)
    return _lazy(x, constant if mode == "constant" else mirrored, shape)


def _crop(x: Field, key: tuple[Any, ...]) -> Field | None:
    """Slices of step 1; None for any other index."""
    if Ellipsis in key:
        at = key.index(Ellipsis)
        key = (*key[:at], *[slice(None)] * (5 - len(key)), *key[at + 1 :])
    key = (*key, *[slice(None)] * (4 - len(key)))
    if len(key) != 4 or not all(isinstance(part, slice) and part.step in (None, 1) for part in key):
        return None
    (n, _, _), (c, d, _), (top, bottom, _), (left, right, _) = (
        part.indices(side) for part, side in zip(key, x.shape, strict=True)
    )
    if n or bottom <= top or right <= left or d <= c:
        return None
    shape = (1, d - c, bottom - top, right - left)
    return _lazy(x, lambda a, b: x.rows(a + top, b + top)[:, c:d, :, left:right], shape)


def _interpolate(
    x: Field, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **rest: Any
) -> Any:
    """Twice the sides, nearest or bilinear."""
    if size is not None or scale_factor not in (2, (2, 2)) or mode not in ("nearest", "bilinear"):
        return None
    if rest.get("align_corners") or rest.get("antialias"):
        return None
    _, channels, height, width = x.shape

    def rows(first: int, last: int) -> Tensor:
        low, high = max(first // 2 - 1, 0), min((last - 1) // 2 + 2, height)
        twice = F.interpolate(x.rows(low, high), scale_factor=2.0, mode=mode)
        return twice[:, :, first - 2 * low : last - 2 * low]

    return _lazy(x, rows, (1, channels, 2 * height, 2 * width))


def _conv2d(
    x: Field,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Field | None:
    if isinstance(padding, str):
        return None
    (down, across), (over, beside), (apart, aside) = map(_pair, (stride, padding, dilation))
    padded = cast(Field, _pad(x, (beside, beside, over, over)))
    out, inner, kernel, kernel_across = weight.shape
    span, span_across = apart * (kernel - 1) + 1, aside * (kernel_across - 1) + 1
    height, width = (padded.shape[2] - span) // down + 1, (padded.shape[3] - span_across) // across + 1
    if height < 1 or width < 1:
        return None  # torch's own error

    def rows(first: int, last: int) -> Tensor:
        strip = padded.rows(first * down, (last - 1) * down + span)
        return F.conv2d(strip, weight, bias, stride, 0, dilation, groups)

    cost = width * max(out, inner * groups * down * across, inner * kernel * kernel_across)
    return Field((1, out, height, width), x.dtype, x.device, rows, cost).stored()


def _conv_transpose2d(
    x: Field,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    *rest: Any,
    **named: Any,
) -> Field | None:
    last_two = {"groups": 1, "dilation": 1, **dict(zip(("groups", "dilation"), rest, strict=False)), **named}
    groups, dilation = last_two["groups"], last_two["dilation"]
    (up, across), (over, beside), (more, more_across), (apart, aside) = map(
        _pair, (stride, padding, output_padding, dilation)
    )
    if more > over:
        return None
    (_, _, high, wide), (_, per_group, kernel, kernel_across) = x.shape, weight.shape
    reach = apart * (kernel - 1)
    height = (high - 1) * up - 2 * over + reach + more + 1
    width = (wide - 1) * across - 2 * beside + aside * (kernel_across - 1) + more_across + 1

    def rows(first: int, last: int) -> Tensor:
        # Row i of the input reaches rows i * up - over to i * up - over + reach of the output.
        low = max(-(-(first + over - reach) // up), 0)
        above = min((last - 1 + over) // up + 1, high)
        strip = F.conv_transpose2d(
            x.rows(low, above), weight, bias, stride, (0, beside), (0, more_across), groups, dilation
        )
        start = first - (low * up - over)
        return strip[:, :, start : start + last - first]

    cost = width * per_group * groups * max(1, kernel * kernel_across // (up * across))
    return Field((1, per_group * groups, height, width), x.dtype, x.device, rows, cost).stored()


def _instance_norm(x: Field, *, use_input_stats: bool = True, **how: Any) -> Field | None:
    if use_input_stats:
        x = x.stored()
        how["running_mean"], how["running_var"] = _moments(x)
    return _batch_norm(x, **how)


def _batch_norm(
    x: Field, running_mean: Tensor, running_var: Tensor, *, training: bool = False, **how: Any
) -> Field | None:
    if training:
        return None
    return _lazy(x, lambda a, b: F.batch_norm(x.rows(a, b), running_mean, running_var, **how))


def _moments(x: Field) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel: those of the strips, joined in float64 (Chan et al. 1979)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    count = 0
    mean = squares = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for first, last in x.strips():
        strip = x.rows(first, last).to(wide)
        own, own_mean = (last - first) * x.shape[3], strip.mean(dim=(0, 2, 3))
        own_squares = (strip - own_mean.view(1, -1, 1, 1)).square_().sum(dim=(0, 2, 3))
        apart = own_mean - mean
        squares = squares + own_squares + apart**2 * (count * own / (count + own))
        mean, count = mean + apart * (own / (count + own)), count + own
    return mean.to(wide), (squares / count).to(wide)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    F.conv2d: _conv2d,
    F.conv_transpose2d: _conv_transpose2d,
    F.instance_norm: _instance_norm,
    F.batch_norm: _batch_norm,
    F.pad: _pad,
    F.interpolate: _interpolate,
    F.dropout: _dropout,
    torch.cat: _cat,
    **{function: _arithmetic(function) for function in (torch.add, torch.sub, torch.mul, torch.div)},
    **{
        function: _pointwise(function)
        for function in (F.relu, F.leaky_relu, torch.relu, torch.prelu, torch.tanh)
    },
}
