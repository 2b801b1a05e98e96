"""Images a second of a training step: ours with its defaults against a plain float32 eager one, in one run.

    pytest benchmarks/test_translators.py -s                        every size, this machine's threads
    pytest benchmarks/test_translators.py -s -k "cyclegan and 128"  one of them
    pytest benchmarks/test_translators.py -s -k limit               its share of what a matrix product reaches
    pytest benchmarks/test_translators.py -s -k time_goes           a step's operations by their share of it

The plain step is the same step (same networks, batch, size, losses, order) as a first reading of the papers gives
it: nn.Sequential nets of stock layers in float32, stock Adam, losses fetched in every step. Repeats alternate, so
that a busy machine slows both; the fastest of each counts.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from d2n.config import translator_config
from d2n.core import Compute
from d2n.devices import resolve_precision
from d2n.translators import build, coarse, winograd
from d2n.translators.norms import BatchNorm

if TYPE_CHECKING:
    from benchmarks.conftest import Ratio

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
REPEATS = int(os.environ.get("D2N_BENCH_REPEATS", "3"))
CHANNELS = int(os.environ.get("D2N_BENCH_CHANNELS", "64"))
FORWARD_GFLOP_256 = {"resnet": 99.1, "unet": 12.1, "patchgan": 6.3}  # 64 channels; a multiply-add is two


class PlainBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3),
            nn.InstanceNorm2d(c),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3),
            nn.InstanceNorm2d(c),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PlainLevel(nn.Module):
    """One level of a U-Net with batch norm, the next inside."""

    def __init__(
        self, c_in: int, c_out: int, c: int, inner: nn.Module | None, *, first: bool, drop: bool
    ) -> None:
        super().__init__()
        self.first = first
        down = [nn.Conv2d(c_in, c, 4, 2, 1, bias=False)]
        down = down if first else [nn.LeakyReLU(0.2), *down]
        middle = [inner] if inner is not None else []
        down = down if first or inner is None else [*down, nn.BatchNorm2d(c)]
        up = [nn.ReLU(), nn.ConvTranspose2d(c * (1 + len(middle)), c_out, 4, 2, 1, bias=first)]
        last = [nn.Tanh()] if first else [nn.BatchNorm2d(c_out), *([nn.Dropout(0.5)] if drop else [])]
        self.body = nn.Sequential(*down, *middle, *up, *last)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.first else torch.cat([x, self.body(x)], 1)


def plain_resnet(c: int, blocks: int) -> nn.Module:
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), nn.InstanceNorm2d(c), nn.ReLU(True)]
    for w in (c, 2 * c):
        layers += [nn.Conv2d(w, 2 * w, 3, 2, 1), nn.InstanceNorm2d(2 * w), nn.ReLU(True)]
    layers += [PlainBlock(4 * c) for _ in range(blocks)]
    for w in (4 * c, 2 * c):
        layers += [nn.ConvTranspose2d(w, w // 2, 3, 2, 1, 1), nn.InstanceNorm2d(w // 2), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh())


def plain_unet(c: int, depth: int) -> nn.Module:
    widths = [c * min(2**i, 8) for i in range(depth)]
    level: nn.Module | None = None
    for i in reversed(range(1, depth)):
        level = PlainLevel(
            widths[i - 1], widths[i - 1], widths[i], level, first=False, drop=4 <= i < depth - 1
        )
    return PlainLevel(3, 3, c, level, first=True, drop=False)


def plain_patchgan(c_in: int, c: int, norm: type[nn.Module]) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(c_in, c, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for w, wider, stride in ((c, 2 * c, 2), (2 * c, 4 * c, 2), (4 * c, 8 * c, 1)):
        layers += [nn.Conv2d(w, wider, 4, stride, 1), norm(wider), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * c, 1, 4, 1, 1))


def freeze(nets: list[nn.Module], frozen: bool) -> None:
    for net in nets:
        net.requires_grad_(not frozen)


def least_squares(logits: Tensor, target: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, target))


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def plain_cyclegan(c: int, _px: int) -> Callable[[Tensor, Tensor], list[float]]:
    g_night, g_day = (plain_resnet(c, 9).to(DEVICE) for _ in range(2))
    d_night, d_day = (plain_patchgan(3, c, nn.InstanceNorm2d).to(DEVICE) for _ in range(2))
    g_adam = torch.optim.Adam([*g_night.parameters(), *g_day.parameters()], 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam([*d_night.parameters(), *d_day.parameters()], 2e-4, (0.5, 0.999))

    def step(day: Tensor, night: Tensor) -> list[float]:
        freeze([d_night, d_day], True)
        fake_night, fake_day = g_night(day), g_day(night)
        cycle = F.l1_loss(g_day(fake_night), day) + F.l1_loss(g_night(fake_day), night)
        gan = least_squares(d_night(fake_night), 1) + least_squares(d_day(fake_day), 1)
        g_adam.zero_grad()
        (gan + 10 * cycle).backward()
        g_adam.step()
        freeze([d_night, d_day], False)
        d_adam.zero_grad()
        judged = []
        for judge, real, fake in ((d_night, night, fake_night), (d_day, day, fake_day)):
            loss = (least_squares(judge(real), 1) + least_squares(judge(fake.detach()), 0)) / 2
            loss.backward()
            judged.append(loss.item())
        d_adam.step()
        return [gan.item(), cycle.item(), *judged]

    return step


def plain_pix2pix(c: int, px: int) -> Callable[[Tensor, Tensor], list[float]]:
    g_net = plain_unet(c, px.bit_length() - 1).to(DEVICE)
    d_net = plain_patchgan(6, c, nn.BatchNorm2d).to(DEVICE)
    g_adam = torch.optim.Adam(g_net.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d_net.parameters(), 2e-4, (0.5, 0.999))

    def step(day: Tensor, night: Tensor) -> list[float]:
        fake = g_net(day)
        freeze([d_net], False)
        d_adam.zero_grad()
        on_fake = cross_entropy(d_net(torch.cat([day, fake.detach()], 1)), 0)
        on_real = cross_entropy(d_net(torch.cat([day, night], 1)), 1)
        ((on_real + on_fake) / 2).backward()
        d_adam.step()
        freeze([d_net], True)
        g_adam.zero_grad()
        gan = cross_entropy(d_net(torch.cat([day, fake], 1)), 1)
        l1 = F.l1_loss(fake, night)
        (gan + 100 * l1).backward()
        g_adam.step()
        return [on_fake.item(), on_real.item(), gan.item(), l1.item()]

    return step


def sobel(images: Tensor) -> Tensor:
    """Edges of the luminance, each image's divided by their root mean square."""
    grey = (images * torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)).sum(1, True)
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=images.device)
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    edges = (F.conv2d(grey, kernels).square().sum(1, True) + 1e-12).sqrt()
    return edges / (edges.square().mean((1, 2, 3), True).sqrt() + 1e-3)


def plain_hedngan(c: int, _px: int) -> Callable[[Tensor, Tensor], list[float]]:
    """With Sobel's edges: HED's weights are not in this repository."""
    g_net = plain_resnet(c, 9).to(DEVICE)
    d_net = plain_patchgan(3, c, nn.InstanceNorm2d).to(DEVICE)
    g_adam = torch.optim.Adam(g_net.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d_net.parameters(), 2e-4, (0.5, 0.999))

    def step(day: Tensor, night: Tensor) -> list[float]:
        fake = g_net(day)
        freeze([d_net], False)
        d_adam.zero_grad()
        d = (least_squares(d_net(night), 1) + least_squares(d_net(fake.detach()), 0)) / 2
        d.backward()
        d_adam.step()
        freeze([d_net], True)
        g_adam.zero_grad()
        gan = least_squares(d_net(fake), 1)
        edge = F.l1_loss(sobel(fake), sobel(day))
        (gan + 5 * edge).backward()
        g_adam.step()
        return [d.item(), gan.item(), edge.item()]

    return step


class PlainViews(nn.Module):
    """ToDayGAN's discriminator of 4 layers: blurred colour, luminance, gradients; logits of all depths in one list."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(self._judge(c_in, c, layers) for c_in, layers in ((3, 4), (1, 4), (2, 3)))

    @staticmethod
    def _judge(c_in: int, c: int, layers: int) -> nn.ModuleList:
        parts = [nn.Sequential(nn.Conv2d(c_in, c, 4, 2, 2), nn.PReLU())]
        for w, wider in ((c * 2**i, c * 2 ** (i + 1)) for i in range(layers - 1)):
            norm = nn.InstanceNorm2d(wider + 1)
            parts.append(nn.Sequential(nn.Conv2d(w, wider + 1, 4, 2, 2), norm, nn.PReLU()))
        w, wider = c * 2 ** (layers - 1), c * min(2**layers, 8)
        last = [
            nn.Conv2d(w, wider, 4, 1, 2),
            nn.InstanceNorm2d(wider),
            nn.PReLU(),
            nn.Conv2d(wider, 1, 4, 1, 2),
        ]
        return nn.ModuleList([*parts, nn.Sequential(*last)])

    def forward(self, images: Tensor) -> list[list[Tensor]]:
        blurred = F.conv2d(images, torch.full((3, 1, 5, 5), 0.04, device=images.device), padding=2, groups=3)
        grey = (images * torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)).sum(
            1, True
        )
        half = grey[..., ::2, ::2]
        across = half[..., 1:-1, 2:] - half[..., 1:-1, :-2]
        gradient = torch.cat([across, half[..., 2:, 1:-1] - half[..., :-2, 1:-1]], 1)
        found = []
        for (first, *levels, last), x in zip(self.parts, (blurred, grey, gradient), strict=True):
            x, logits = first(x), []
            for level in levels:
                y = level(x)
                x = y[:, :-1]
                logits.append(y[:, -1:])
            found.append([*logits, last(x)])
        return found


def relativistic(better: list[list[Tensor]], worse: list[list[Tensor]]) -> Tensor:
    total = torch.zeros((), device=DEVICE)
    for b, w in zip(better, worse, strict=True):
        weights = [*range(1, len(b)), len(b) + 1]
        each = [m * (x - y - 1).square().mean() for m, x, y in zip(weights, b, w, strict=True)]
        total = total + torch.stack(each).sum() / (sum(weights) * len(b)) / 3
    return total


def plain_halves(c: int, judge: Callable[[], nn.Module], gan: str) -> Callable[[Tensor, Tensor], list[float]]:
    """ComboGAN on two domains; ``gan`` is how its discriminators are asked."""
    wholes = [list(plain_resnet(c, 9).to(DEVICE)) for _ in range(2)]
    encoders, decoders = (
        [nn.Sequential(*part) for part in parts] for parts in zip(*map(split, wholes), strict=True)
    )
    judges = [judge().to(DEVICE) for _ in range(2)]
    g_adam = torch.optim.Adam(
        [p for net in (*encoders, *decoders) for p in net.parameters()], 2e-4, (0.5, 0.999)
    )
    d_adam = torch.optim.Adam([p for net in judges for p in net.parameters()], 2e-4, (0.5, 0.999))

    def step(day: Tensor, night: Tensor) -> list[float]:
        real = (day, night)
        freeze(judges, True)
        codes = [encode(x) for encode, x in zip(encoders, real, strict=True)]
        g, fakes = torch.zeros((), device=DEVICE), {}
        for s, t in ((0, 1), (1, 0)):
            fakes[t] = decoders[t](codes[s])
            found = judges[t](fakes[t])
            if gan == "relativistic":
                with torch.no_grad():
                    on_real = judges[t](real[t])
                g = g + relativistic(found, on_real)
            else:
                g = g + least_squares(found, 1)
            g = g + 10 * F.l1_loss(decoders[s](encoders[t](fakes[t])), real[s])
        g_adam.zero_grad()
        g.backward()
        g_adam.step()
        freeze(judges, False)
        d_adam.zero_grad()
        judged = []
        for t in (0, 1):
            on_real, on_fake = judges[t](real[t]), judges[t](fakes[t].detach())
            if gan == "relativistic":
                d = relativistic(on_real, on_fake) / 2
            else:
                d = (least_squares(on_real, 1) + least_squares(on_fake, 0)) / 2
            d.backward()
            judged.append(d.item())
        d_adam.step()
        return [g.item(), *judged]

    return step


def split(layers: list[nn.Module]) -> tuple[list[nn.Module], list[nn.Module]]:
    """Way down and 4 of 9 blocks; the others and the way up."""
    return layers[:14], layers[14:]


def plain_combogan(c: int, _px: int) -> Callable[[Tensor, Tensor], list[float]]:
    return plain_halves(c, lambda: plain_patchgan(3, c, nn.InstanceNorm2d), "least squares")


def plain_todaygan(c: int, _px: int) -> Callable[[Tensor, Tensor], list[float]]:
    return plain_halves(c, lambda: PlainViews(c), "relativistic")


class PlainStarBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        norms = [nn.InstanceNorm2d(c, affine=True) for _ in range(2)]
        convs = [nn.Conv2d(c, c, 3, 1, 1, bias=False) for _ in range(2)]
        self.body = nn.Sequential(convs[0], norms[0], nn.ReLU(True), convs[1], norms[1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def plain_stargan(c: int, px: int) -> Callable[[Tensor, Tensor], list[float]]:
    """Of two domains, 5 strided layers, generator and discriminator in every step."""
    layers: list[nn.Module] = [
        nn.Conv2d(5, c, 7, 1, 3, bias=False),
        nn.InstanceNorm2d(c, affine=True),
        nn.ReLU(True),
    ]
    for w in (c, 2 * c):
        down = nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False)
        layers += [down, nn.InstanceNorm2d(2 * w, affine=True), nn.ReLU(True)]
    layers += [PlainStarBlock(4 * c) for _ in range(6)]
    for w in (4 * c, 2 * c):
        up = nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False)
        layers += [up, nn.InstanceNorm2d(w // 2, affine=True), nn.ReLU(True)]
    g_net = nn.Sequential(*layers, nn.Conv2d(c, 3, 7, 1, 3, bias=False), nn.Tanh()).to(DEVICE)
    convs = [nn.Conv2d(3 if i == 0 else c * 2 ** (i - 1), c * 2**i, 4, 2, 1) for i in range(5)]
    trunk = nn.Sequential(*(layer for conv in convs for layer in (conv, nn.LeakyReLU(0.01)))).to(DEVICE)
    critic = nn.Conv2d(16 * c, 1, 3, 1, 1, bias=False).to(DEVICE)
    classes = nn.Conv2d(16 * c, 2, px // 32, bias=False).to(DEVICE)
    judges = [trunk, critic, classes]
    g_adam = torch.optim.Adam(g_net.parameters(), 1e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam([p for net in judges for p in net.parameters()], 1e-4, (0.5, 0.999))

    def told(x: Tensor, domain: Tensor) -> Tensor:
        planes = F.one_hot(domain, 2)[:, :, None, None].expand(-1, -1, *x.shape[-2:])
        return g_net(torch.cat([x, planes.to(x.dtype)], 1))

    def judge(x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = trunk(x)
        return critic(hidden), classes(hidden).mean((2, 3))

    def step(day: Tensor, night: Tensor) -> list[float]:
        x = torch.cat([day, night])
        own = torch.arange(2, device=x.device).repeat_interleave(len(day))
        freeze(judges, False)
        with torch.no_grad():
            fake = told(x, 1 - own)
        on_real, named = judge(x)
        share = torch.rand(len(x), 1, 1, 1, device=x.device)
        between = (share * x + (1 - share) * fake).requires_grad_(True)
        (gradient,) = torch.autograd.grad(judge(between)[0].sum(), between, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        d = judge(fake)[0].mean() - on_real.mean() + F.cross_entropy(named, own) + 10 * penalty
        d_adam.zero_grad()
        d.backward()
        d_adam.step()
        freeze(judges, True)
        fake = told(x, 1 - own)
        on_fake, named = judge(fake)
        g = F.cross_entropy(named, 1 - own) - on_fake.mean() + 10 * F.l1_loss(told(fake, own), x)
        g_adam.zero_grad()
        g.backward()
        g_adam.step()
        return [d.item(), g.item()]

    return step


PLAIN = {
    "cyclegan": plain_cyclegan,
    "pix2pix": plain_pix2pix,
    "hedngan": plain_hedngan,
    "combogan": plain_combogan,
    "stargan": plain_stargan,
    "todaygan": plain_todaygan,
}


def knobs_of(method: str, px: int) -> dict[str, Any]:
    """What makes the step the plain one's."""
    instance = {"generator_norm": "instance", "discriminator_norm": "instance"}
    return {
        "pix2pix": {"unet_depth": px.bit_length() - 1},
        "cyclegan": {"lambda_identity": 0.0},
        "cut": {},
        "hedngan": {"edges": "sobel", **instance},
        "combogan": {"generator": "resnet", "discriminator_layers": 3},
        "stargan": {"discriminator_layers": 5, "class_kernel": px // 32, "n_critic": 1},
        "todaygan": {"generator": "resnet"},
    }[method]


def ours(
    method: str,
    px: int,
    channels: int = CHANNELS,
    *,
    compiled: bool = False,
    graphs: bool = True,
    channels_last: bool = True,
) -> Callable[[Tensor, Tensor], object]:
    config = translator_config(
        method,
        "reference",
        generator_channels=channels,
        discriminator_channels=channels,
        **knobs_of(method, px),
    )
    precision = resolve_precision("auto", DEVICE)
    translator = build(
        config,
        total_steps=10_000,
        seed=0,
        compute=Compute(str(DEVICE), precision, channels_last, compiled, cuda_graphs=graphs),
    )
    return translator.step


def seconds(step: Callable[[Tensor, Tensor], object], day: Tensor, night: Tensor) -> float:
    """Of one step, from a device at rest to a device at rest."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(day, night)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def gflop(method: str, px: int, batch: int) -> float:
    """Of one step, counted as: forward 1, gradient of inputs 1, gradient of weights 1; nan where nobody counted."""
    if method not in ("cyclegan", "pix2pix"):
        return math.nan
    scale = (px / 256) ** 2 * (CHANNELS / 64) ** 2 * batch
    judge = FORWARD_GFLOP_256["patchgan"] * (2 * 3 + 2)  # D's own step on real and fake, G's step through it
    if method == "pix2pix":
        return scale * (3 * FORWARD_GFLOP_256["unet"] + judge)
    return scale * (4 * 3 * FORWARD_GFLOP_256["resnet"] + 2 * judge)


def forward_and_back(layer: nn.Module, x: Tensor) -> Callable[[], float]:
    """Seconds of one forward and one backward pass in the precision that training takes here."""
    bf16 = resolve_precision("auto", DEVICE) == "bf16"

    def once() -> float:
        start = time.perf_counter()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
            y = layer(x)
        y.backward(torch.ones_like(y))
        layer.zero_grad()
        return time.perf_counter() - start

    return once


@pytest.mark.parametrize(
    ("kind", "c_in", "px"), [("Down", 512, 4), ("Down", 512, 8), ("Up", 1024, 2), ("Up", 1024, 4)]
)
def test_coarse_convolution(kind: str, c_in: int, px: int, ratio: Ratio) -> None:
    layer = getattr(coarse, kind)(c_in, 512, bias=False)
    stock = nn.Conv2d if kind == "Down" else nn.ConvTranspose2d
    plain = stock(c_in, 512, 4, stride=2, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = torch.rand(5, c_in, px, px).to(memory_format=torch.channels_last).requires_grad_()
    runs = {"library": forward_and_back(plain, x), "product": forward_and_back(layer, x)}
    taken = {name: min(run() for _ in range(2 * REPEATS)) for name, run in runs.items()}
    print(
        f"\n{kind} {c_in} to 512 at {px} px, batch 5: {taken['library'] / taken['product']:.2f} x as a product"
    )
    what = f"coarse convolution {kind}, {c_in} to 512 channels, {px} px"
    ratio(what, "the library", taken["library"] / taken["product"])
    assert taken["product"] > 0


@pytest.mark.parametrize("px", [24, 32, 64])
def test_winograd(px: int, ratio: Ratio) -> None:
    layer = winograd.ReflectConv2d(256, 256, 3).to(memory_format=torch.channels_last)
    plain = nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect").to(memory_format=torch.channels_last)
    x = torch.rand(1, 256, px, px).to(memory_format=torch.channels_last)
    x = x.bfloat16() if resolve_precision("auto", DEVICE) == "bf16" else x
    x.requires_grad_()
    runs = {"library": forward_and_back(plain, x), "winograd": forward_and_back(layer, x)}
    taken = {name: [run()] for name, run in runs.items()}
    for _ in range(4 * REPEATS):
        for name, run in runs.items():
            taken[name].append(run())
    print(
        f"\n3 x 3, 256 to 256 at {px} px: {min(taken['library']) / min(taken['winograd']):.2f} x by Winograd"
    )
    gain = min(taken["library"]) / min(taken["winograd"])
    ratio(f"3 x 3 convolution of 256 channels, {px} px", "the library", gain)
    assert min(taken["winograd"]) > 0


def test_gradient_of_a_concatenation() -> None:
    x = torch.rand(5, 64, 128, 128).to(memory_format=torch.channels_last).requires_grad_()
    norms = {"plain": nn.BatchNorm2d(64), "ours": BatchNorm(64)}
    taken = {}
    for name, norm in norms.items():
        layer = nn.Sequential(norm)
        run = forward_and_back(layer, x)
        joined = forward_and_back(Joined(layer), x)
        taken[name] = min(joined() for _ in range(2 * REPEATS)), min(run() for _ in range(2 * REPEATS))
    print(
        f"\nbatch norm of 64 x 128 x 128, batch 5, in a concatenation: "
        f"{taken['plain'][0] / taken['ours'][0]:.2f} x; alone: {taken['plain'][1] / taken['ours'][1]:.2f} x"
    )
    assert taken["ours"][0] > 0


class Joined(nn.Module):
    """A layer's output beside its input, as in a U-Net."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(x)], dim=1)


@pytest.mark.parametrize("px", [64, 128, 256])
@pytest.mark.parametrize(
    ("method", "batch"),
    [("cyclegan", 1), ("pix2pix", 5), ("hedngan", 2), ("combogan", 1), ("stargan", 4), ("todaygan", 1)],
)
def test_training_step(method: str, batch: int, px: int, ratio: Ratio) -> None:
    torch.manual_seed(0)
    day, night = (torch.rand(batch, 3, px, px, device=DEVICE) * 2 - 1 for _ in range(2))
    steps = {"plain": PLAIN[method](CHANNELS, px), "ours": ours(method, px)}
    for step in steps.values():
        step(day, night)  # first use allocates and picks algorithms
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            taken[name].append(seconds(step, day, night))
    best = {name: min(values) for name, values in taken.items()}
    rate = gflop(method, px, batch) / best["ours"] / 1e3
    shown = f", {rate:.3g} TFLOP/s" if math.isfinite(rate) else ""
    print(
        f"\n{method} {px} px, batch {batch}, {CHANNELS} channels, {DEVICE.type} x {torch.get_num_threads()}: "
        f"plain {batch / best['plain']:.3g} images/s, ours {batch / best['ours']:.3g} images/s "
        f"({resolve_precision('auto', DEVICE)}): {best['plain'] / best['ours']:.2f} x{shown}"
    )
    what = f"{method} step, {px} px, {CHANNELS} channels, batch {batch}"
    ratio(what, "plain float32", best["plain"] / best["ours"])
    assert best["ours"] > 0


def product_flops(precision: str) -> float:
    """FLOP/s of a product of two matrices of 3072 x 3072, on a GPU of 8192 x 8192, in bf16 or fp32."""
    kind, side = (
        torch.bfloat16 if precision == "bf16" else torch.float32,
        8192 if DEVICE.type == "cuda" else 3072,
    )
    a, b = (torch.rand(side, side, dtype=kind, device=DEVICE) for _ in range(2))
    return 2 * side**3 / seconds(lambda x, y: x @ y, a, b)  # type: ignore[arg-type]


def counted(step: Callable[[Tensor, Tensor], object], day: Tensor, night: Tensor) -> dict[str, int]:
    """FLOPs of a plain step by what is computed: convolutions as they are defined, whatever computes them."""
    with FlopCounterMode(display=False) as counter:
        step(day, night)
    return {str(kind): flops for kind, flops in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("channels", [32, 64])
@pytest.mark.parametrize("px", [64, 128, 256])
@pytest.mark.parametrize(("method", "batch"), [("cyclegan", 1), ("pix2pix", 5)])
def test_share_of_the_limit(method: str, batch: int, px: int, channels: int) -> None:
    """Winograd's convolutions multiply less than is counted, so that a share may pass 1."""
    torch.manual_seed(0)
    day, night = (torch.rand(batch, 3, px, px, device=DEVICE) * 2 - 1 for _ in range(2))
    flops = counted(PLAIN[method](channels, px), day, night)
    step, precision = ours(method, px, channels), resolve_precision("auto", DEVICE)
    step(day, night)
    product_flops(precision)
    rates, steps = [], []
    for _ in range(REPEATS):  # in turn, so that a busy machine slows both
        rates.append(product_flops(precision))
        steps.append(seconds(step, day, night))
    rate = sum(flops.values()) / min(steps)
    by_kind = ", ".join(f"{name} {n / sum(flops.values()):.0%}" for name, n in sorted(flops.items()))
    print(
        f"\n{method} {px} px, batch {batch}, {channels} channels, {precision}: {sum(flops.values()) / 1e9:.0f} GFLOP "
        f"({by_kind}), {rate / 1e12:.2f} TFLOP/s, {rate / max(rates):.0%} of a product's {max(rates) / 1e12:.2f}; "
        f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB so far"
    )
    assert flops


@pytest.mark.parametrize("px", [64, 256])
@pytest.mark.parametrize(("method", "batch"), [("cyclegan", 1), ("pix2pix", 5)])
def test_where_the_time_goes(method: str, batch: int, px: int) -> None:
    torch.manual_seed(0)
    day, night = (torch.rand(batch, 3, px, px, device=DEVICE) * 2 - 1 for _ in range(2))
    step = ours(method, px)
    step(day, night)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step(day, night)
    events = profiler.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    largest = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)[:12]
    shares = ", ".join(f"{event.key} {event.self_cpu_time_total / whole:.0%}" for event in largest)
    print(f"\n{method} {px} px, batch {batch}, {CHANNELS} channels: {shares}")
    assert whole > 0
