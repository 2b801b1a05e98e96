import pytest
import torch

from d2n.config import NetworkConfig
from d2n.errors import ConfigError
from d2n.retrieval import network
from d2n.retrieval.precision import autocast, resolve_device


def test_auto_is_a_device_that_is_here() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "tpu0"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="no CUDA device"):
        resolve_device("cuda")


def test_bf16_stays_close_to_fp32() -> None:
    toy = network.build(NetworkConfig(backbone="toy"))
    images = torch.rand(4, 3, 64, 64)
    with torch.inference_mode():
        with autocast(torch.device("cpu"), "fp32"):
            exact = toy(images)
        with autocast(torch.device("cpu"), "bf16"):
            rough = toy(images)
            assert torch.is_autocast_enabled("cpu")
    assert exact.dtype == rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert float((exact * rough).sum(dim=1).min()) > 0.999
