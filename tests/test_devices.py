"""One reading of devices and of precisions."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from d2n.config import NetworkConfig, build_experiment, is_device_name
from d2n.devices import autocast, require_device, resolve_device, resolve_precision
from d2n.errors import ConfigError
from d2n.retrieval import network

NO_DEVICES = [
    "gpu",
    "foo",
    "cudaa",
    "cpu:x",
    "cpu:1",
    "cuda:",
    "cuda:-1",
    "cuda:1.5",
    "tpu0",
    "meta",
    "",
    "CPU",
    " cpu",
]


def test_auto_is_a_device_that_is_here() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu", 0)) == torch.device("cpu", 0)


@pytest.mark.parametrize("name", NO_DEVICES)
def test_other_names_are_refused(name: str) -> None:
    assert not is_device_name(name)
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["foo", "cuda:x"])
@pytest.mark.parametrize("kind", ["translation", "retrieval"])
def test_a_knob_that_names_no_device_is_refused_when_the_yaml_loads(name: str, kind: str) -> None:
    values = {"kind": kind, "training": {"device": name}}
    with pytest.raises(ConfigError, match=f"training.device is '{name}': expected auto, cpu, cuda"):
        build_experiment(values, (), "x.yaml")


@pytest.mark.parametrize("name", ["cuda:99", "mps", "xpu:7"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is here")
    with pytest.raises(ConfigError, match=f"device is '{name}', but torch sees"):
        require_device(name)


def test_the_usual_names_are_known_without_torch() -> None:
    code = (
        "import sys\nfrom d2n.devices import require_device\n"
        "require_device('auto'), require_device('cpu')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


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


def test_auto_is_one_of_the_two_and_others_are_refused() -> None:
    assert resolve_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    with pytest.raises(ConfigError, match=r"training\.precision is 'fp16', expected auto, fp32 or bf16"):
        resolve_precision("fp16", torch.device("cpu"))
