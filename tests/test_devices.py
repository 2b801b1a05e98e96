"""One reading of devices."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from d2n.config import build_experiment, is_device_name
from d2n.devices import require_device, resolve_device
from d2n.errors import ConfigError

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
