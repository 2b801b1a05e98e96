"""Generators and discriminators of pix2pix (Isola et al. 2017) and CycleGAN (Zhu et al. 2017).

All take and give (B, C, H, W); images lie in [-1, 1]. Weights start as N(0, init_gain), biases as 0,
batch norm's gamma as N(1, init_gain). Batch norm is affine with running statistics; instance norm is neither.
"""

from __future__ import annotations

import logging
from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.errors import ShapeError
from d2n.translators import coarse, nhwc
from d2n.translators.convs import Conv2d, ConvTranspose2d
from d2n.translators.norms import Norm, make_norm
from d2n.translators.options import GeneratorOptions, Options, ResNetOptions, Upsampling
from d2n.translators.recompute import run
from d2n.translators.winograd import ReflectConv2d

logger = logging.getLogger(__name__)


class UNetGenerator(nn.Module):
    """U-Net with skip connections (Ronneberger et al. 2015, in the form of Isola et al. 2017, 6.1.1).

    ``depth`` levels halve the sides each; channels double from ``base_channels`` up to 8 times that. Dropout
    (0.5, after the norm) sits in the inner blocks of full width, between the fifth level and the innermost.
    ``upsampling="resize"`` replaces each transposed convolution by nearest resize and a 3 x 3 convolution
    (Odena et al. 2016); ``late_input`` lets the input join the features before the last convolution.

    forward: (B, 3, H, W) in [-1, 1] to the same; raises ShapeError when a side does not divide by 2^depth.
    """

    recompute = False

    def __init__(
        self,
        depth: int = 8,
        base_channels: int = 64,
        norm: Norm = "batch",
        dropout: bool = False,
        **options: Unpack[GeneratorOptions],
    ) -> None:
        super().__init__()
        o = Options(**options)
        if depth < 2:
            raise ShapeError(f"U-Net of depth {depth}: expected at least 2")
        if dropout and depth < 6:
            logger.warning("U-Net of depth %d has no inner block for dropout (it starts at depth 6)", depth)
        self.stride = self.smallest_side = 2**depth
        widths = [base_channels * min(2**level, 8) for level in range(depth)]
        self.down = nn.ModuleList(
            _UNetDown(
                o.in_channels if level == 0 else widths[level - 1],
                widths[level],
                norm="none" if level in (0, depth - 1) else norm,
                bias=norm == "instance",
                activation=level > 0,
            )
            for level in range(depth)
        )
        self.up = nn.ModuleList(
            _UNetUp(
                widths[level] * (1 if level == depth - 1 else 2),
                widths[level - 1],
                norm=norm,
                dropout=dropout and 4 <= level < depth - 1,
                upsampling=o.upsampling,
            )
            for level in range(1, depth)
        )
        self.last = _last_layer(
            2 * widths[0], base_channels, o.in_channels, o.out_channels, o.upsampling, o.late_input, norm
        )
        init_weights(self, o.init_gain, o.generator)

    def forward(self, x: Tensor) -> Tensor:
        _check_divides(x, self.stride, "U-Net")
        skips: list[Tensor] = []
        hidden = x
        for down in self.down:
            hidden = run(down, hidden, self.recompute)
            skips.append(hidden)
        for level in range(len(self.up) - 1, -1, -1):
            hidden = torch.cat([skips[level], run(self.up[level], hidden, self.recompute)], dim=1)
        return cast(Tensor, self.last(hidden, x))


class ResNetGenerator(nn.Module):
    """Residual generator (Johnson et al. 2016; Zhu et al. 2017, 7.2): two down, n blocks, two up.

    Reflection padding throughout; dropout (0.5) in every block; ``upsampling`` and ``late_input`` as in
    UNetGenerator. ``antialias`` is the form that Park et al. 2020 publish: convolutions of stride 1 with a
    binomial blur behind (Zhang 2019) and, for transposed ones, linear interpolation before.

    forward: (B, 3, H, W) in [-1, 1] to (B, 3, H', W'), each side rounded up to a multiple of 4. Sides under
    5 raise ShapeError, as reflection needs more pixels than it pads. With ``encode_only`` the list of
    ``encode``.
    """

    recompute = False
    stride = 4
    smallest_side = 8  # of an image padded to the stride: two features a side at the narrowest

    def __init__(
        self,
        blocks: int = 9,
        base_channels: int = 64,
        norm: Norm = "instance",
        dropout: bool = False,
        **options: Unpack[ResNetOptions],
    ) -> None:
        super().__init__()
        o = Options(**options)
        bias, c = norm == "instance", base_channels
        down = _blurred_down if o.antialias else _resnet_down
        up = _interpolated_up if o.antialias and o.upsampling == "transposed" else _resnet_up
        self.encoder = nn.ModuleList(
            [
                _conv_norm_relu(ReflectConv2d(o.in_channels, c, 7, bias=bias), norm),
                down(c, 2 * c, bias, norm),
                down(2 * c, 4 * c, bias, norm),
            ]
        )
        self.blocks = nn.ModuleList(_ResidualBlock(4 * c, norm, dropout) for _ in range(blocks))
        self.decoder = nn.ModuleList(
            _conv_norm_relu(up(width, width // 2, bias, o.upsampling), norm) for width in (4 * c, 2 * c)
        )
        self.late_input = o.late_input
        self.last = ReflectConv2d(c + (o.in_channels if o.late_input else 0), o.out_channels, 7)
        init_weights(self, o.init_gain, o.generator)

    def forward(self, x: Tensor, encode_only: bool = False) -> Any:
        if encode_only:
            return self.encode(x)
        _check_smallest(x, 5, "ResNet generator")
        hidden = x
        for layer in (*self.encoder, *self.blocks, *self.decoder):
            hidden = run(layer, hidden, self.recompute)
        if self.late_input:
            pad = (0, -x.shape[-1] % 4, 0, -x.shape[-2] % 4)  # the output's sides are rounded up to 4
            hidden = torch.cat([hidden, F.pad(x, pad, mode="replicate") if any(pad) else x], dim=1)
        return torch.tanh(self.last(hidden))

    def encode(self, x: Tensor) -> list[Tensor]:
        """What each of the three first convolutions gives (before its norm), then what each block gives."""
        _check_smallest(x, 5, "ResNet generator")
        features: list[Tensor] = []
        for conv, *rest in cast(list[nn.Sequential], self.encoder):
            features.append(conv(x))
            x = features[-1]
            for layer in rest:
                x = layer(x)
        for block in self.blocks:
            x = run(block, x, self.recompute)
            features.append(x)
        return features


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017, 3.2.2): a logit for each overlapping patch; 3 layers see 70 x 70 pixels.

    ``layers=0`` judges single pixels by 1 x 1 convolutions. No norm on the first convolution, LeakyReLU 0.2.

    forward: (B, in_channels, H, W) to logits (B, 1, h, w), 30 x 30 for 256 x 256 and 3 layers. Inputs too
    small for one logit raise ShapeError (under 24 pixels for 3 layers).
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        layers: int = 3,
        norm: Norm = "instance",
        *,
        init_gain: float = 0.02,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        make = _patch_layers if layers else _pixel_layers
        self.smallest_side = 3 * 2**layers if layers else 1
        self.model = nn.Sequential(*make(in_channels, base_channels, layers, norm))
        init_weights(self, init_gain, generator)

    def forward(self, x: Tensor) -> Tensor:
        _check_smallest(x, self.smallest_side, "PatchGAN discriminator")
        return cast(Tensor, self.model(x))


def init_weights(module: nn.Module, gain: float = 0.02, generator: torch.Generator | None = None) -> None:
    """N(0, gain) weights, zero biases, N(1, gain) batch norm gammas, drawn from ``generator``; in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            if part.weight.is_meta:
                continue  # shapes alone need no values
            mean = 1.0 if isinstance(part, nn.BatchNorm2d) else 0.0
            nn.init.normal_(part.weight, mean, gain, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class _UNetDown(nn.Module):
    def __init__(self, c_in: int, c_out: int, *, norm: Norm, bias: bool, activation: bool) -> None:
        super().__init__()
        self.activation = activation
        self.conv = coarse.Down(c_in, c_out, bias=bias)
        self.norm = make_norm(norm, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.conv(F.leaky_relu(x, 0.2) if self.activation else x)))


class _UNetUp(nn.Module):
    def __init__(self, c_in: int, c_out: int, *, norm: Norm, dropout: bool, upsampling: Upsampling) -> None:
        super().__init__()
        self.conv = _unet_up(c_in, c_out, norm == "instance", upsampling)
        self.norm = make_norm(norm, c_out)
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(self.norm(self.conv(F.relu(x)))))


class _UNetLast(nn.Module):
    def __init__(self, c_in: int, c_out: int, upsampling: Upsampling) -> None:
        super().__init__()
        self.conv = _unet_up(c_in, c_out, True, upsampling)

    def forward(self, hidden: Tensor, _image: Tensor) -> Tensor:
        return torch.tanh(self.conv(F.relu(hidden)))


class _UNetLateInput(nn.Module):
    """Up to base_channels first; the image joins there, and a 3 x 3 convolution ends it."""

    def __init__(self, c_in: int, c: int, image: int, c_out: int, upsampling: Upsampling, norm: Norm) -> None:
        super().__init__()
        self.up = _UNetUp(c_in, c, norm=norm, dropout=False, upsampling=upsampling)
        self.conv = ReflectConv2d(c + image, c_out, 3)

    def forward(self, hidden: Tensor, image: Tensor) -> Tensor:
        return torch.tanh(self.conv(torch.cat([F.relu(self.up(hidden)), image], dim=1)))


def _last_layer(
    c_in: int, c: int, image: int, c_out: int, upsampling: Upsampling, late_input: bool, norm: Norm
) -> nn.Module:
    if late_input:
        return _UNetLateInput(c_in, c, image, c_out, upsampling, norm)
    return _UNetLast(c_in, c_out, upsampling)


class _ResizeConv(nn.Module):
    """Nearest resize by 2, then a 3 x 3 convolution: no checkerboard (Odena et al. 2016)."""

    def __init__(self, c_in: int, c_out: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


def _unet_up(c_in: int, c_out: int, bias: bool, upsampling: Upsampling) -> nn.Module:
    if upsampling == "resize":
        return _ResizeConv(c_in, c_out, bias)
    return coarse.Up(c_in, c_out, bias=bias)


class _Blur(nn.Module):
    """Every second pixel of the image blurred by the binomial filter (1, 2, 1), reflected at the border."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        weight = torch.outer(line, line).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = cast(Tensor, self.weight).to(x.dtype)
        return F.conv2d(nhwc.reflected(x, 1), weight, stride=2, groups=x.shape[1])


class InterpolateConv(nn.Module):
    """Linear interpolation by 2, which is a transposed convolution with (1, 3, 3, 1), then 3 x 3."""

    def __init__(self, c_in: int, c_out: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        twice = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return cast(Tensor, self.conv(twice))


def _resnet_down(c_in: int, c_out: int, bias: bool, norm: Norm) -> nn.Sequential:
    return _conv_norm_relu(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=bias), norm)


def _blurred_down(c_in: int, c_out: int, bias: bool, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)
    return nn.Sequential(*_conv_norm_relu(conv, norm), _Blur(c_out))


def _interpolated_up(c_in: int, c_out: int, bias: bool, _upsampling: Upsampling) -> nn.Module:
    return InterpolateConv(c_in, c_out, bias)


def _resnet_up(c_in: int, c_out: int, bias: bool, upsampling: Upsampling) -> nn.Module:
    if upsampling == "resize":
        return _ResizeConv(c_in, c_out, bias)
    return ConvTranspose2d(c_in, c_out, bias=bias, before_norm=bias)


class _ResidualBlock(nn.Module):
    def __init__(self, c: int, norm: Norm, dropout: bool) -> None:
        super().__init__()
        bias = norm == "instance"
        self.conv1 = ReflectConv2d(c, c, 3, bias=bias, before_norm=bias)
        self.norm1 = make_norm(norm, c)
        self.relu: nn.Module = nn.ReLU()
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()
        self.conv2 = ReflectConv2d(c, c, 3, bias=bias, before_norm=bias)
        self.norm2 = make_norm(norm, c)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.relu(self.norm1(self.conv1(x))))
        return cast(Tensor, x + self.norm2(self.conv2(hidden)))


def _conv_norm_relu(conv: nn.Module, norm: Norm) -> nn.Sequential:
    inner = conv.conv if isinstance(conv, _ResizeConv | InterpolateConv) else conv
    width = cast(int, inner.out_channels)
    return nn.Sequential(conv, make_norm(norm, width), nn.ReLU())


def _patch_layers(c_in: int, c: int, layers: int, norm: Norm) -> list[nn.Module]:
    bias = norm == "instance"
    modules: list[nn.Module] = [nn.Conv2d(c_in, c, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    width = c
    for level in range(1, layers + 1):
        wider, stride = c * min(2**level, 8), 2 if level < layers else 1
        modules += [
            Conv2d(width, wider, 4, stride=stride, padding=1, bias=bias, before_norm=bias),
            make_norm(norm, wider),
            nn.LeakyReLU(0.2),
        ]
        width = wider
    return [*modules, nn.Conv2d(width, 1, 4, stride=1, padding=1)]


def _pixel_layers(c_in: int, c: int, _layers: int, norm: Norm) -> list[nn.Module]:
    bias = norm == "instance"  # of the last one too, unlike the patch form
    return [
        nn.Conv2d(c_in, c, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(c, 2 * c, 1, bias=bias),
        make_norm(norm, 2 * c),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * c, 1, 1, bias=bias),
    ]


def _check_divides(x: Tensor, stride: int, name: str) -> None:
    height, width = x.shape[-2:]
    if height % stride or width % stride:
        raise ShapeError(
            f"{name}: image of {height} x {width} pixels, expected sides divisible by {stride}; "
            "change dataset.image_size_px or translator.unet_depth"
        )


def _check_smallest(x: Tensor, smallest: int, name: str) -> None:
    height, width = x.shape[-2:]
    if height < smallest or width < smallest:
        raise ShapeError(
            f"{name}: image of {height} x {width} pixels, expected at least {smallest} a side; "
            "use larger crops (dataset.image_size_px) or fewer layers"
        )
