"""What published checkpoints say of themselves, and their whitening."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from d2n.config import NetworkConfig
from d2n.errors import WeightsError
from d2n.retrieval import network, published

GANDTR = "pil2np | apply_clahe:1.0 | totensor | normalize"


def cirtorch(**meta: Any) -> dict[str, Any]:
    known = {"architecture": "squeezenet1_1", "pooling": "gem", "whitening": False}
    return {"meta": known | meta, "state_dict": {}}


def mdir(transforms: str = GANDTR, mean_std: Any = None) -> dict[str, Any]:
    model = {"architecture": "cirnet", "cir_architecture": "squeezenet1_1", "pooling": "gem"}
    data = {"transforms": transforms, "mean_std": mean_std or [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]}
    return {"net": {"network_params": {"model": model, "runtime": {"data": data}}, "model_state": {}}}


def whitening(dim: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"m": rng.normal(size=(dim, 1)), "P": rng.normal(size=(dim, dim))}


def test_mean_deviation_and_clahe_of_a_checkpoint() -> None:
    told = published.read_meta(published.inner(mdir()), "f")
    assert (told.mean, told.std, told.clahe) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (1.0, 8))
    assert published.read_meta(published.inner(mdir("pil2np | apply_clahe | totensor")), "f").clahe == (
        4.0,
        8,
    )
    plain = published.read_meta(cirtorch(mean=[0.5, 0.5, 0.5]), "f")
    assert (plain.mean, plain.std, plain.clahe) == ((0.5, 0.5, 0.5), None, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (cirtorch(mean=[0.5]), "its mean is .*expected 3 numbers"),
        (cirtorch(std=[1, 1, 0]), "its std is"),
        (cirtorch(mean=["a", "b", "c"]), "its mean is"),
        ({"meta": [1], "state_dict": {}}, "its description is list"),
        (mdir("pil2np | apply_clahe:x | normalize")["net"], "expected apply_clahe:CLIP:GRID:lab"),
        (mdir("pil2np | match_histogram:eq | normalize")["net"], "images go through 'match_histogram:eq'"),
        (mdir(mean_std=[1, 2, 3])["net"], "expected two lists"),
        (cirtorch(Lw=[1]), "its description is list"),
    ],
)
def test_a_description_that_is_none_is_refused(content: dict[str, Any], says: str) -> None:
    with pytest.raises(WeightsError, match=f"f: .*{says}"):
        published.read_meta(content, "f")


def test_the_whitening_of_one_or_of_several_scales() -> None:
    single, several = whitening(seed=1), whitening(seed=2)
    told = published.read_meta(cirtorch(Lw={"sfm": {"ss": single, "ms": several}}), "f")
    found = published.stored_whitening(told, (1.0,), "f")
    assert found is not None
    np.testing.assert_array_equal(found.projection, single["P"])
    np.testing.assert_array_equal(found.mean, single["m"][:, 0])
    found = published.stored_whitening(told, (1.0, 0.5), "f")
    assert found is not None
    np.testing.assert_array_equal(found.projection, several["P"])
    assert published.stored_whitening(published.read_meta(cirtorch(), "f"), (1.0,), "f") is None


def test_several_whitenings_are_chosen_by_name() -> None:
    part = {"ss": whitening(seed=1), "ms": whitening(seed=2)}
    other = {"ss": whitening(seed=3)}
    both = published.read_meta(cirtorch(Lw={"a": other, "retrieval-SfM-120k": part}), "f")
    found = published.stored_whitening(both, (1.0,), "f")
    assert found is not None
    np.testing.assert_array_equal(found.projection, part["ss"]["P"])
    with pytest.raises(WeightsError, match=r"has no part 'ms' .3 scales.*found ss"):
        published.stored_whitening(both, (1.0, 0.7, 0.5), "f", "a")
    with pytest.raises(WeightsError, match="no whitening 'c' in its Lw, found a, retrieval-SfM-120k"):
        published.stored_whitening(both, (1.0,), "f", "c")
    unclear = published.read_meta(cirtorch(Lw={"a": other, "b": other}), "f")
    with pytest.raises(WeightsError, match=r"several whitenings in its Lw .a, b."):
        published.stored_whitening(unclear, (1.0,), "f")


def test_whitening_files_of_both_kinds_are_found_beside_a_network(tmp_path: Path) -> None:
    made, net = whitening(), tmp_path / "net.pth"
    assert published.whitening_beside(net, (1.0,)) is None
    torch.save(made, tmp_path / "net.pth_whiten")
    beside = published.whitening_beside(net, (1.0,))
    assert beside == tmp_path / "net.pth_whiten"
    np.testing.assert_array_equal(published.read_whitening(beside).projection, made["P"])
    (tmp_path / "net_lw.pkl").write_bytes(pickle.dumps(made))
    beside = published.whitening_beside(net, (1.0,))
    assert beside == tmp_path / "net_lw.pkl"
    np.testing.assert_array_equal(published.read_whitening(beside).mean, made["m"][:, 0])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1], "no whitening, it holds list"),
        ({"m": np.zeros(3)}, "no whitening, it holds m"),
        ({"m": np.zeros(3), "P": np.zeros((3, 4))}, r"m \(3,\) and P \(3, 4\)"),
        ({"m": np.zeros(3), "P": np.full((3, 3), np.nan)}, "not finite"),
        ({"m": "x", "P": "y"}, "are no numbers"),
    ],
)
def test_a_file_that_is_no_whitening_is_refused(tmp_path: Path, content: Any, says: str) -> None:
    (tmp_path / "x_lw.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=says) as caught:
        published.read_whitening(tmp_path / "x_lw.pkl")
    assert "\n" not in str(caught.value)


def test_a_network_is_built_as_its_file_means_it_and_saved_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    trunk = {key: value for key, value in state.items() if key.startswith("features.")}
    content = mdir()
    content["net"]["model_state"] = {**trunk, "pool.p": torch.linspace(2, 4, 512)}
    content["net"]["network_params"]["model"]["pooling"] = "gemmp"
    torch.save(content, tmp_path / "g.pth")
    config = NetworkConfig(backbone="squeezenet1_1", weights=str(tmp_path / "g.pth"))
    built = network.build(config, download=False)
    assert built.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert built.preparation == "Clahe(clip_limit=1.0, grid=8), mean [0.1, 0.2, 0.3], std [0.4, 0.5, 0.6]"
    assert built.multiscale_power.tolist() == [1]
    network.save(tmp_path / "saved", built, config)
    again, kept, _ = network.load(tmp_path / "saved")
    assert (kept.light, kept.gem_per_channel) == ("clahe", True)
    images = torch.rand(1, 3, 40, 40)
    assert torch.equal(again(images), built(images))
    assert network.fingerprint(again) == network.fingerprint(built)
    usual = network.as_told(built, NetworkConfig())
    assert usual.preparation == ""
    assert network.fingerprint(usual) != network.fingerprint(built)
