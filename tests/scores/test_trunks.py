"""Weights files: found, refused, hashed; torchvision trunks and GeM."""

import hashlib

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from d2n.errors import ConfigError, WeightsError
from d2n.files.reading import file_sha256
from d2n.scores import trunks


def test_absent_inception_weights_name_file_sha256_and_place(monkeypatch, tmp_path):
    monkeypatch.delenv(trunks.INCEPTION_VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        trunks.build_inception(None)
    message = str(caught.value)
    for part in (trunks.INCEPTION_FILE, trunks.INCEPTION_SHA256, str(tmp_path), trunks.INCEPTION_VARIABLE):
        assert part in message
    assert "\n" not in message


def test_inception_weights_are_found_through_the_variable(monkeypatch, tmp_path):
    net, _ = trunks.random_network("inception", seed=0)
    path = tmp_path / "inception.pth"
    torch.save(net.state_dict(), path)
    monkeypatch.setenv(trunks.INCEPTION_VARIABLE, str(path))
    loaded, sha256 = trunks.build_inception(None)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert trunks.module_sha256(loaded) == trunks.module_sha256(net)


@pytest.fixture
def squeezenet(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_0(weights=None)
    torch.save(model.state_dict(), tmp_path / "squeezenet.pth")
    save_file(model.state_dict(), tmp_path / "squeezenet.safetensors")
    return model.eval(), tmp_path


@pytest.mark.parametrize("name", ["squeezenet.pth", "squeezenet.safetensors"])
def test_a_trunk_is_torchvisions_convolutions_and_gem(squeezenet, name):
    model, folder = squeezenet
    trunk, sha256 = trunks.build_trunk("squeezenet1_0", folder / name)
    x = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = (model.features(x).clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)
        torch.testing.assert_close(trunk.eval()(x), expected)
    assert sha256 == file_sha256(folder / name)


def test_weights_of_another_network_are_refused(squeezenet):
    _, folder = squeezenet
    with pytest.raises(WeightsError, match=r"not the weights of torchvision's squeezenet1_1"):
        trunks.build_trunk("squeezenet1_1", folder / "squeezenet.pth")
    with pytest.raises(WeightsError, match="tensors are missing"):
        trunks.build_inception(folder / "squeezenet.pth")


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_damaged_weights_are_refused(tmp_path, content):
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"not a weights file that can be read safely"):
        trunks.build_trunk("squeezenet1_0", path)


def test_absent_weights_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="no such weights file"):
        trunks.build_trunk("squeezenet1_0", tmp_path / "nothing.pth")
    with pytest.raises(ConfigError, match=r"did you mean 'vgg16'"):
        trunks.build_trunk("vgg16x", None)


def test_random_networks_depend_on_the_seed_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    hashes = [trunks.random_network("squeezenet1_1", seed)[1] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.rand(1) == expected


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2"])
def test_trunks_of_other_families_give_channels(name):
    net, _ = trunks.random_network(name, seed=0)
    with torch.no_grad():
        assert net.eval()(torch.rand(1, 3, 64, 64)).shape == (1, {"mobilenet_v2": 1280}.get(name, 512))


def test_tensorflow_padding_puts_the_odd_pixel_right_and_bottom():
    plain, _ = trunks.random_network("mobilenet_v2", seed=0)
    padded, _ = trunks.random_network("mobilenet_v2", seed=0, tf_padding=True)
    first, same = plain.trunk[0][0], padded.trunk[0][0]
    x = torch.rand(1, 3, 32, 32)
    expected = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (0, 1, 0, 1)), first.weight, stride=2)
    torch.testing.assert_close(same(x), expected)
    assert not torch.allclose(first(x), expected)


@pytest.mark.shared_data
def test_real_photographs_give_lively_squeezenet_features(shared_data):
    from d2n.scores.features import build_extractor, extract

    weights = shared_data / "weights/squeezenet1_0/squeezenet1_0_fp32_torchvision.pth"
    night = sorted((shared_data / "amos_daynight/images/night").glob("*.jpg"))[:6]
    extractor = build_extractor("squeezenet1_0", weights=weights, input="caffe")
    features = extract(extractor, night)
    assert features.shape == (6, 512)
    assert features.std(axis=0).mean() > 0.1


@pytest.mark.parametrize("name", ["mnasnet0_5", "regnet_x_400mf", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_trunks_without_a_features_part_end_before_the_head(name):
    net, _ = trunks.random_network(name, seed=0)
    assert net.eval()(torch.zeros(1, 3, 64, 64)).ndim == 2


def test_published_weights_are_known_by_the_hash_in_their_name():
    url = torchvision.models.SqueezeNet1_0_Weights.DEFAULT.url
    prefix = url.rpartition("-")[2].removesuffix(".pth")
    assert trunks.is_published("squeezenet1_0", prefix + "0" * (64 - len(prefix)))
    assert not trunks.is_published("squeezenet1_0", "0" * 64)
    assert trunks.is_published("inception", trunks.INCEPTION_SHA256)
    assert not trunks.is_published("inception", "0" * 64)
