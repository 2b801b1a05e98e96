"""The Inception network of 2015 that FID is defined by: the TensorFlow port, under the names of its public weights.

Szegedy et al., 2016, "Rethinking the Inception Architecture"; Heusel et al., 2017. It differs from torchvision's
Inception v3: average pooling leaves padded zeros out, the last block pools by maximum, the head has 1008 classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 2048
CLASSES = 1008
SIDE_PX = 299

Kernel = int | tuple[int, int]
Unit = tuple[str, int, Kernel]  # name, output channels, kernel; padded to keep the size
Branch = tuple[Unit | tuple[Unit, Unit], ...]  # a pair of units is applied side by side, then concatenated


def _units(prefix: str, *layers: tuple[int, Kernel]) -> Branch:
    """prefix_1, prefix_2, …; the prefix alone for one layer."""
    names = [prefix] if len(layers) == 1 else [f"{prefix}_{i}" for i in range(1, len(layers) + 1)]
    return tuple((name, out, kernel) for name, (out, kernel) in zip(names, layers, strict=True))


def _fork(prefix: str, out: int) -> tuple[Unit, Unit]:
    """1 x 3 and 3 x 1 side by side."""
    return (f"{prefix}a", out, (1, 3)), (f"{prefix}b", out, (3, 1))


def _block_35(pooled: int) -> tuple[Branch, ...]:
    return (
        _units("branch1x1", (64, 1)),
        _units("branch5x5", (48, 1), (64, 5)),
        _units("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
        _units("branch_pool", (pooled, 1)),
    )


def _block_17(inner: int) -> tuple[Branch, ...]:
    wide, tall = (1, 7), (7, 1)
    return (
        _units("branch1x1", (192, 1)),
        _units("branch7x7", (inner, 1), (inner, wide), (192, tall)),
        _units("branch7x7dbl", (inner, 1), (inner, tall), (inner, wide), (inner, tall), (192, wide)),
        _units("branch_pool", (192, 1)),
    )


_BLOCK_8: tuple[Branch, ...] = (
    _units("branch1x1", (320, 1)),
    (("branch3x3_1", 384, 1), _fork("branch3x3_2", 384)),
    (("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), _fork("branch3x3dbl_3", 384)),
    _units("branch_pool", (192, 1)),
)
# The last unit of each branch has stride 2 and no padding; beside them a max-pool passes the input on.
_SHRINK_35: tuple[Branch, ...] = (
    _units("branch3x3", (384, 3)),
    _units("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
)
_SHRINK_17: tuple[Branch, ...] = (
    _units("branch3x3", (192, 1), (320, 3)),
    _units("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)),
)


class InceptionFeatures(nn.Module):
    """(B, 3, 299, 299) normalised to about [-1, 1] to pool3 features (B, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, 3, stride=2, padding=0)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, 3, padding=0)
        self.Mixed_5b = Mixed(192, _block_35(32))
        self.Mixed_5c = Mixed(256, _block_35(64))
        self.Mixed_5d = Mixed(288, _block_35(64))
        self.Mixed_6a = Shrink(288, _SHRINK_35)
        self.Mixed_6b = Mixed(768, _block_17(128))
        self.Mixed_6c = Mixed(768, _block_17(160))
        self.Mixed_6d = Mixed(768, _block_17(160))
        self.Mixed_6e = Mixed(768, _block_17(192))
        self.Mixed_7a = Shrink(768, _SHRINK_17)
        self.Mixed_7b = Mixed(1280, _BLOCK_8)
        self.Mixed_7c = Mixed(2048, _BLOCK_8, max_pooled=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        # The stem's maps are large: one image's stay in a CPU's cache, a batch's do not.
        images = x.chunk(len(x)) if x.device.type == "cpu" else (x,)
        x = torch.cat([self._stem(image) for image in images])
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean(dim=(2, 3))

    def _stem(self, x: Tensor) -> Tensor:
        """(B, 3, 299, 299) to (B, 192, 35, 35)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, stride=2)))
        return functional.max_pool2d(x, 3, stride=2)

    def probabilities(self, features: Tensor) -> Tensor:
        """Class probabilities (B, 1008) of (B, 2048) features, without the head's bias as in the published IS."""
        return functional.linear(features, self.fc.weight).softmax(dim=1)

    def fused(self) -> InceptionFeatures:
        """This network with every batch norm folded into its convolution: for inference alone, in place."""
        self.eval()
        for unit in self.modules():
            if isinstance(unit, ConvUnit):
                unit.fuse()
        return self


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU; padded to keep the size unless told otherwise."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = (sides[0] // 2, sides[1] // 2) if padding is None else (padding, padding)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, pads, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)

    def before_relu(self, x: Tensor) -> Tensor:
        """The affine part."""
        return self.bn(self.conv(x))  # type: ignore[no-any-return]  # nn.Module's call is untyped

    def fuse(self) -> None:
        """Fold the batch norm into the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class Mixed(nn.Module):
    """Branches side by side, concatenated; the one named branch_pool pools 3 x 3 before its convolution."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...], max_pooled: bool = False) -> None:
        super().__init__()
        self.branches, self.max_pooled = branches, max_pooled
        for branch in branches:
            _add_units(self, inputs, branch)

    def forward(self, x: Tensor) -> Tensor:
        *convolved, (pool_unit,) = self.branches
        outputs = [_run(self, branch, x) for branch in convolved]
        return torch.cat([*outputs, self._pooled(x, self.get_submodule(str(pool_unit[0])))], 1)

    def _pooled(self, x: Tensor, unit: nn.Module) -> Tensor:
        if self.max_pooled:
            return unit(functional.max_pool2d(x, 3, stride=1, padding=1))  # type: ignore[no-any-return]  # untyped
        assert isinstance(unit, ConvUnit)  # noqa: S101 - _add_units made it
        # A mean of 1 x 1 convolutions is the convolution of the mean: pooling the fewer output channels is cheaper.
        pooled = functional.avg_pool2d(unit.before_relu(x), 3, stride=1, padding=1, count_include_pad=False)
        return functional.relu(pooled, inplace=True)


class Shrink(nn.Module):
    """Branches that halve the size, beside a max-pool of the input."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...]) -> None:
        super().__init__()
        self.branches = branches
        for branch in branches:
            _add_units(self, inputs, branch, shrink=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [_run(self, branch, x) for branch in self.branches]
        return torch.cat([*outputs, functional.max_pool2d(x, 3, stride=2)], 1)


def _add_units(block: nn.Module, inputs: int, branch: Branch, shrink: bool = False) -> None:
    for step in branch:
        for name, outputs, kernel in _parallel(step):
            last = shrink and step is branch[-1]
            block.add_module(name, ConvUnit(inputs, outputs, kernel, 2 if last else 1, 0 if last else None))
        inputs = _parallel(step)[0][1]


def _run(block: nn.Module, branch: Branch, x: Tensor) -> Tensor:
    for step in branch:
        outputs = [block.get_submodule(name)(x) for name, _, _ in _parallel(step)]
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
    return x


def _parallel(step: Unit | tuple[Unit, Unit]) -> tuple[Unit, ...]:
    first = step[0]
    return (step,) if isinstance(first, str) else step  # type: ignore[return-value]  # told apart by the line above
