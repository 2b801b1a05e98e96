"""On a GPU: a recorded step is the step, a seed gives the same numbers, a resumed training goes on, nothing waits."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from d2n.config import NetworkConfig, translator_config
from d2n.core import Compute
from d2n.datasets.ahead import brought_ahead
from d2n.devices import taken_for_training
from d2n.retrieval import network as networks
from d2n.retrieval.losses import tuple_contrastive_loss
from d2n.translators import build, convs, nhwc
from d2n.translators.gan import Gan
from d2n.translators.winograd import ReflectConv2d
from tests.translators.test_recorded import CASES, assert_equal, batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def built(method: str, knobs: dict[str, Any], *, cuda_graphs: bool = True) -> Gan:
    config = translator_config(method, "toy", generator_channels=16, discriminator_channels=16, **knobs)
    compute = Compute("cuda", "bf16", channels_last=True, cuda_graphs=cuda_graphs)
    return build(config, total_steps=20, seed=0, compute=compute)


@pytest.mark.parametrize(("method", "knobs"), CASES)
def test_a_recorded_step_is_the_step(method: str, knobs: dict[str, Any]) -> None:
    plain, recorded = built(method, knobs, cuda_graphs=False), built(method, knobs)
    for step in range(9):
        assert_equal(plain.step(*batch(step)), recorded.step(*batch(step)))
    assert recorded.recorded is not None
    assert recorded.recorded._recorder is not None
    assert_equal(plain.state(), recorded.state())


@pytest.mark.parametrize(("method", "knobs"), CASES[:3])
def test_a_resumed_training_equals_one_never_interrupted(method: str, knobs: dict[str, Any]) -> None:
    whole, resumed = built(method, knobs), built(method, knobs)
    for step in range(12):
        whole.step(*batch(step))
        whole.translate(batch(0)[0])
        if step == 5:
            state = whole.state()
    for step in range(5):
        resumed.step(*batch(step + 100))
    resumed.load_state(state)
    for step in range(6, 12):
        resumed.step(*batch(step))
    assert_equal(whole.state(), resumed.state())


@pytest.mark.parametrize(
    "method", ["pix2pix", "cyclegan", "cut", "hedngan", "combogan", "todaygan", "stargan"]
)
def test_a_seed_gives_the_same_numbers(method: str) -> None:
    knobs = {"edges": "sobel"} if method == "hedngan" else {}
    runs = [built(method, knobs) for _ in range(2)]
    for run in runs:
        for step in range(6):
            run.step(*batch(step))
    assert_equal(runs[0].state(), runs[1].state())


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_a_state_of_a_gpu_goes_on_on_a_processor_and_back(method: str) -> None:
    config = translator_config(method, "toy", generator_channels=4, discriminator_channels=4)
    for there, back in (("cuda", "cpu"), ("cpu", "cuda")):
        first, second = (
            build(config, total_steps=9, seed=0, compute=Compute(device, cuda_graphs=True))
            for device in (there, back)
        )
        for step in range(4):
            first.step(*batch(step))
        second.load_state(first.state())
        for name, state in first.state()["optimizers"].items():
            assert_equal(state["state"], second.state()["optimizers"][name]["state"])
        for step in range(4, 9):
            second.step(*batch(step))
        assert second.steps_done == 9


@pytest.mark.parametrize(
    "method", ["pix2pix", "cyclegan", "cut", "hedngan", "combogan", "todaygan", "stargan"]
)
def test_no_step_waits_for_the_device(method: str) -> None:
    knobs = {"edges": "sobel"} if method == "hedngan" else {}
    for cuda_graphs in (False, True):
        translator = built(
            method, {**knobs, "lambda_edge": 1.0, "lambda_luminance": 1.0}, cuda_graphs=cuda_graphs
        )
        images = [x.pin_memory() for x in batch(0)]
        for _ in range(5):
            translator.step(*images)
        torch.cuda.synchronize()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is a prototype
            torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                translator.step(*images)
            with pytest.raises(RuntimeError, match="synchronizing"):  # it would be seen
                torch.zeros(1, device="cuda").item()
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.cuda.set_sync_debug_mode("default")


def test_batches_are_brought_while_the_one_before_is_computed_on() -> None:
    made = [{"day": torch.full((2, 3, 8, 8), i, dtype=torch.uint8).pin_memory()} for i in range(6)]
    sums = []
    for one in brought_ahead(iter(made), torch.device("cuda")):
        torch.cuda._sleep(20_000_000)  # the copies are far ahead
        sums.append(one["day"].sum())
    assert [int(x) for x in sums] == [i * 2 * 3 * 8 * 8 for i in range(6)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 70, 9, 13), (1, 8, 40, 40), (4, 256, 64, 64), (3, 64, 130, 90)])
def test_kernels_compute_what_torch_computes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    assert nhwc._kernels(device) is not None
    x = (torch.randn(shape, device=device) * 2 + 3).to(dtype).to(memory_format=torch.channels_last)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    for ours, torchs in (
        (lambda x: nhwc.instance_norm(x, 1e-5), lambda x: F.instance_norm(x, eps=1e-5)),
        (lambda x: nhwc.reflected(x, 1), lambda x: F.pad(x, (1,) * 4, mode="reflect")),
        (lambda x: nhwc.reflected(x, 3), lambda x: F.pad(x, (3,) * 4, mode="reflect")),
    ):
        mine, exact = x.clone().requires_grad_(), x.double().contiguous().requires_grad_()
        y, expected = ours(mine), torchs(exact)
        gradient = (
            torch.randn(expected.shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        )
        y.backward(gradient)
        expected.backward(gradient.double().contiguous())
        assert nhwc.is_channels_last(y)
        assert nhwc.is_channels_last(mine.grad)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("c_in", "c_out", "px"), [(3, 64, 64), (64, 3, 64), (67, 3, 20)])
def test_few_channels_are_folded_to_the_same_numbers(c_in: int, c_out: int, px: int) -> None:
    layer = ReflectConv2d(c_in, c_out, 7).cuda().to(memory_format=torch.channels_last)
    x = torch.randn(2, c_in, px, px, device="cuda").to(memory_format=torch.channels_last).requires_grad_()
    assert convs.folds(layer, x)
    expected = F.conv2d(
        F.pad(x.double(), (3,) * 4, mode="reflect"), layer.weight.double(), layer.bias.double()
    )
    gradient = torch.randn_like(expected)
    inputs = (x, layer.weight, layer.bias)
    exact = torch.autograd.grad(expected, inputs, gradient)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        y = layer(x)
        found = torch.autograd.grad(y, inputs, gradient.float())
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-3)
    for mine, true in zip(found, exact, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-3, atol=1e-3 * float(true.abs().max()))


def test_a_retrieval_network_gets_the_same_gradients_each_time() -> None:
    config = NetworkConfig(backbone="vgg16", weights="none")
    network = (
        networks.build(config, seed=0, download=False).cuda().train().to(memory_format=torch.channels_last)
    )
    taken_for_training(torch.device("cuda"))
    images, found = torch.rand(4, 3, 160, 224, device="cuda"), []
    for _ in range(2):
        network.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = tuple_contrastive_loss(network(images)[None].float(), 0.7)
        loss.backward()
        found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert_equal(*found)
