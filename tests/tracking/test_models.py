from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import models, registry
from d2n.tracking.runs import Store

_LOAD = """
import sys
for name in ("d2n", "optuna", "pydantic_settings"):
    sys.modules[name] = None  # importing it fails
import mlflow.pytorch, numpy, torch
model = mlflow.pytorch.load_model(sys.argv[1])
images = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], model(images).detach().numpy())
"""


class Net(nn.Module):
    """Any size in, the same size out; its instance norm needs the batch and the size at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True)
        self.last = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(torch.relu(self.norm(self.first(x)))))


class Descriptor(Net):
    """Images to (B, 4)."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.first(x).mean(dim=(2, 3)), dim=1)


class Fixed(nn.Module):
    """Its output depends on the width it was traced with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.shape[3]) if isinstance(x.shape[3], int) else x * float(int(x.shape[3]))


EXAMPLE = np.zeros((2, 3, 16, 16), np.float32)


def eager(module: nn.Module) -> models.Network:
    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(images)))

    return run


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.slow
def test_a_logged_generator_equals_the_eager_one_at_every_size(
    store: Store, net: Net, tmp_path: Path
) -> None:
    extra = tmp_path / "what?now 100%25 #1 é" / "generator.json"
    extra.parent.mkdir()
    extra.write_text('{"method": "pix2pix"}')
    with store.start_run("d2n/toycity", "one", params={"lr": 0.1}) as run:
        run.log_metrics({"score/fid": 3.0}, step=2)
        model_id = run.log_model(
            net,
            name="generator",
            step=2,
            example=EXAMPLE,
            extra_files=[extra],
            metadata={"method": "pix2pix"},
        )
        run.log_model_metrics(model_id, {"score/fid": 3.0}, step=2)
    version = registry.register(store, model_name="d2n-toycity", run_id=run.run_id, model_id=model_id)
    assert registry.check_version(store, version, eager(net)) < 1e-5
    registry.set_alias(store, "d2n-toycity", "champion", "1", eager=eager(net))

    folder = registry.download(store, "d2n-toycity@champion", extra.parent / "model")
    assert models.check_folder(folder, eager(net)) < 1e-5
    assert (folder / "extra_files" / "generator.json").read_text() == '{"method": "pix2pix"}'
    assert not [p for p in folder.rglob("*") if p.suffix in (".pth", ".pkl", ".pickle")]
    stored = store.client.get_logged_model(model_id)
    assert [(m.key, m.value, m.step) for m in stored.metrics] == [("score/fid", 3.0, 2)]
    assert stored.params == {"lr": "0.1"}
    assert store.metric_history(run.run_id, "score/fid") == [(2, 3.0)]  # linked, not written twice
    outputs = store.client.get_run(run.run_id).outputs.model_outputs
    assert [(o.model_id, o.step) for o in outputs] == [(model_id, 2)]


def test_another_network_than_the_stored_one_keeps_the_alias_where_it_is(store: Store, net: Net) -> None:
    with store.start_run("d2n/toycity", "one") as run:
        model_id = run.log_model(net, name="generator", step=0, example=EXAMPLE)
    registry.register(store, model_name="d2n-toycity", run_id=run.run_id, model_id=model_id)
    torch.manual_seed(1)
    with pytest.raises(RegistryError, match="differs from the trained one"):
        registry.set_alias(store, "d2n-toycity", "champion", "1", eager=eager(Net().eval()))
    assert registry.list_aliases(store, "d2n-toycity") == {}


@pytest.mark.slow
def test_a_retrieval_network_is_stored_the_same_way(store: Store, tmp_path: Path) -> None:
    module = Descriptor().eval()
    with store.start_run("d2n/toycity", "one") as run:
        model_id = run.log_model(module, name="retrieval", step=0, example=EXAMPLE, output_shape=(-1, 4))
    folder = registry.download_model(store, model_id, tmp_path / "model")
    assert models.check_folder(folder, eager(module), low=0.0) < 1e-5


def test_a_size_frozen_at_export_is_found(store: Store, tmp_path: Path) -> None:
    module = Fixed().eval()
    module.register_parameter("p", nn.Parameter(torch.zeros(1)))
    with store.start_run("d2n/toycity", "one") as run:
        model_id = run.log_model(module, name="generator", step=0, example=EXAMPLE)
    folder = registry.download_model(store, model_id, tmp_path / "model")
    with pytest.raises(RegistryError, match=r"stored model (fails|differs)"):
        models.check_folder(folder, eager(module))


def test_what_cannot_be_exported_leaves_nothing(store: Store, net: Net) -> None:
    class Refuses(Net):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x  # control flow that depends on data

    run = store.start_run("d2n/toycity", "one")
    with pytest.raises(TrackingError, match="does not export"):
        run.log_model(Refuses().eval(), name="generator", step=0, example=EXAMPLE)
    with pytest.raises(TrackingError, match="training mode"):
        run.log_model(net.train(), name="generator", step=0, example=EXAMPLE)
    net.eval()
    for bad in (EXAMPLE[:1], EXAMPLE.astype(np.float64), EXAMPLE[:, :1]):
        with pytest.raises(TrackingError, match="expected float32"):
            run.log_model(net, name="generator", step=0, example=bad)
    run.close()
    assert list(store.client.search_logged_models([run.experiment_id])) == []


def test_a_model_folder_with_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.pth").write_bytes(b"x")
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    with pytest.raises(RegistryError, match=r"lacks data/model\.pt2"):
        models.load_folder(tmp_path)


@pytest.mark.slow
def test_a_registered_generator_loads_with_mlflow_and_torch_alone(
    store: Store, net: Net, tmp_path: Path
) -> None:
    with store.start_run("d2n/toycity", "one") as run:
        model_id = run.log_model(net, name="generator", step=0, example=EXAMPLE)
    registry.register(store, model_name="d2n-toycity", run_id=run.run_id, model_id=model_id, alias="champion")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 3, 21, 34)).astype(np.float32)
    np.save(tmp_path / "in.npy", images)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    subprocess.run(
        [
            sys.executable,
            "-c",
            _LOAD,
            "models:/d2n-toycity@champion",
            tmp_path / "in.npy",
            tmp_path / "out.npy",
        ],
        env=environment,
        check=True,
        timeout=200,
    )
    assert np.abs(np.load(tmp_path / "out.npy") - eager(net)(images)).max() < 1e-5
