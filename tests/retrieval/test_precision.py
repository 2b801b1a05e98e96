import torch

from d2n.config import NetworkConfig
from d2n.retrieval import network
from d2n.retrieval.precision import autocast


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
