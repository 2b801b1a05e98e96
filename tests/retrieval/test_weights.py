import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from d2n.config import NetworkConfig
from d2n.errors import WeightsError
from d2n.retrieval import network, weights

CACHE = re.compile(r"put squeezenet1_1-.+\.pth into .+checkpoints")


@pytest.fixture(scope="module")
def classifier() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    state: dict[str, torch.Tensor] = torchvision.models.squeezenet1_1(weights=None).state_dict()
    return state


def written(content: Any, path: Path) -> str:
    torch.save(content, path)
    return str(path)


def squeezenet(path: str | None) -> network.RetrievalNetwork:
    return network.build(NetworkConfig(backbone="squeezenet1_1", weights=path), download=False)


def trunk_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key.startswith("features.")}


def assert_filled(built: network.RetrievalNetwork, state: dict[str, torch.Tensor]) -> None:
    own = built.state_dict()
    for key, value in trunk_of(state).items():
        assert torch.equal(own[key], value)


def test_a_torchvision_file_fills_the_trunk(classifier: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert_filled(squeezenet(written(classifier, tmp_path / "a.pth")), classifier)
    parallel = {f"module.{key}": value for key, value in classifier.items()}
    assert_filled(squeezenet(written(parallel, tmp_path / "b.pth")), classifier)


def test_a_file_of_the_trunk_alone(classifier: dict[str, torch.Tensor], tmp_path: Path) -> None:
    alone = {key.removeprefix("features."): value for key, value in trunk_of(classifier).items()}
    assert_filled(squeezenet(written(alone, tmp_path / "features.pth")), classifier)


def test_a_cirtorch_checkpoint_with_numpy_in_its_meta(
    classifier: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    meta = {
        "architecture": "squeezenet1_1",
        "pooling": "gem",
        "regional": False,
        "local_whitening": False,
        "whitening": False,
        "mean": [0.485, 0.456, 0.406],
        "Lw": {"retrieval-SfM-120k": {"ss": {"m": np.zeros((4, 1)), "P": np.eye(4)}}},
    }
    state = {**trunk_of(classifier), "pool.p": torch.tensor([2.92])}
    content = {"epoch": 3, "meta": meta, "state_dict": state, "min_loss": np.float64(0.3)}
    built = squeezenet(written(content, tmp_path / "model.pth.tar"))
    assert_filled(built, classifier)
    assert float(built.pool.p.detach()) == pytest.approx(2.92)


def test_a_cirtorch_whitening_layer_comes_after_an_l2(
    classifier: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    meta = {"architecture": "squeezenet1_1", "pooling": "gem", "whitening": True}
    whiten = {"whiten.weight": torch.randn(64, 512), "whiten.bias": torch.randn(64)}
    state = {**trunk_of(classifier), "pool.p": torch.tensor([3.0]), **whiten}
    built = squeezenet(written({"meta": meta, "state_dict": state}, tmp_path / "w.pth"))
    images = torch.rand(2, 3, 64, 64)
    pooled = network.l2n(built.pool(built.features((images - built.mean) / built.std)))
    expected = network.l2n(pooled @ whiten["whiten.weight"].T + whiten["whiten.bias"])
    assert torch.allclose(built(images), expected, atol=1e-5)
    network.save(tmp_path / "saved", built, NetworkConfig(backbone="squeezenet1_1"))
    assert torch.allclose(network.load(tmp_path / "saved")[0](images), expected, atol=1e-5)


@pytest.mark.parametrize("nested", [False, True])
def test_an_mdir_checkpoint(classifier: dict[str, torch.Tensor], tmp_path: Path, nested: bool) -> None:
    model = {
        "architecture": "cirnet",
        "cir_architecture": "squeezenet1_1",
        "pooling": "gem",
        "regional": False,
    }
    content: dict[str, Any] = {
        "type": "CirNetwork",
        "frozen": False,
        "network_params": {"model": model, "runtime": {}},
        "model_state": {**trunk_of(classifier), "pool.p": torch.tensor([3.1])},
    }
    built = squeezenet(written({"net": content} if nested else content, tmp_path / "epoch.pth"))
    assert_filled(built, classifier)
    assert float(built.pool.p.detach()) == pytest.approx(3.1)


def test_what_cannot_be_taken_over_is_refused(classifier: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = {**trunk_of(classifier), "pool.p": torch.tensor([3.0])}
    other = {"meta": {"architecture": "resnet101", "pooling": "gem"}, "state_dict": state}
    with pytest.raises(WeightsError, match="a resnet101 network, expected squeezenet1_1"):
        squeezenet(written(other, tmp_path / "1.pth"))
    mac = {"meta": {"architecture": "squeezenet1_1", "pooling": "mac", "regional": True}, "state_dict": state}
    with pytest.raises(WeightsError, match="pooling 'mac' regional"):
        squeezenet(written(mac, tmp_path / "2.pth"))
    with pytest.raises(WeightsError, match="a chain of networks"):
        squeezenet(written({"net": {"network_hierarchy": {}}}, tmp_path / "3.pth"))
    with pytest.raises(WeightsError, match="holds list"):
        squeezenet(written([1, 2], tmp_path / "4.pth"))
    with pytest.raises(WeightsError, match="none of squeezenet1_1's trunk"):
        squeezenet(written({"weight": torch.zeros(2)}, tmp_path / "5.pth"))


def test_another_architecture_names_the_first_tensor(
    classifier: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = written(classifier, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"tensors of vgg11 \(first: features\."):
        network.build(NetworkConfig(backbone="vgg11", weights=path))
    bad = written({**classifier, "features.0.weight": torch.zeros(1, 3, 3, 3)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="has misshapen 1 tensors"):
        squeezenet(bad)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


def test_a_harmful_pickle_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match="read safely"):
        squeezenet(written({"a": Harmful()}, tmp_path / "harmful.pth"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"\x80", b"not weights at all", b"PK\x03\x04broken"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        weights.read_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_names_the_knob(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"set network\.weights"):
        squeezenet(str(tmp_path / "gone.pth"))


def test_missing_torchvision_weights_say_where_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classifier: dict[str, torch.Tensor]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=CACHE) as caught:
        squeezenet(None)
    assert "\n" not in str(caught.value)
    name = re.search(r"put (\S+) into (\S+),", str(caught.value))
    assert name is not None
    folder = Path(name[2])
    folder.mkdir(parents=True)
    assert_filled(squeezenet(written(classifier, folder / name[1])), classifier)


def test_an_unreachable_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # refuses at once
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        weights.cached_file("squeezenet1_1")
    assert list(tmp_path.rglob("*.pth")) == []


def test_no_weights_are_asked_for() -> None:
    assert weights.read_weights(NetworkConfig(backbone="vgg16", weights="none")) is None
    assert weights.read_weights(NetworkConfig(backbone="toy")) is None


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "kind"), [("squeezenet1_0", "caffe"), ("mobilenet_v2", "tf")])
def test_public_weights_fill_their_networks(shared_data: Path, name: str, kind: network.Input) -> None:
    path = shared_data / "weights" / name / f"{name}_fp32_torchvision.pth"
    built = network.build(NetworkConfig(backbone=name, weights=str(path), input=kind))
    state = torch.load(path, weights_only=True)
    assert_filled(built, state)
    assert built(torch.rand(1, 3, 96, 96)).shape == (1, 512 if name == "squeezenet1_0" else 1280)


def test_unpublished_weights_say_how_their_input_is_taken(
    classifier: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    squeezenet(written(classifier, tmp_path / "a.pth"))
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "network.input=imagenet" in record.message


def test_a_regnet_file_fills_its_trunk(tmp_path: Path) -> None:
    state = torchvision.models.regnet_x_400mf(weights=None).state_dict()
    config = NetworkConfig(backbone="regnet_x_400mf", weights=written(state, tmp_path / "regnet.pth"))
    own = network.build(config, download=False).state_dict()
    assert torch.equal(own["features.0.0.weight"], state["stem.0.weight"])
