"""Extractors by name, their identities, and extraction with a cache."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from d2n.core import Compute, ScoreProtocol
from d2n.errors import ConfigError, DataError, ImageError
from d2n.scores.features import FeatureCache, Module, build_extractor, extract, module_sha256


class MeanColour(nn.Module):
    """(B, 3, H, W) in [0, 1] to its mean colour; counts the images it saw."""

    seen = 0

    def forward(self, x):
        self.seen += len(x)
        return x.mean(dim=(2, 3))


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(7)]


def colour_extractor(**knobs):
    return build_extractor("retrieval:colours@v1", module=Module(MeanColour()), resize_px=16, **knobs)


def test_a_retrieval_module_sees_rgb_from_zero_to_one(images):
    extractor = colour_extractor()
    features = extract(extractor, images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, [i.mean(axis=(0, 1)) / 255 for i in images], atol=0.02)
    assert extractor.dim == 3
    np.testing.assert_array_equal(features, extractor(images))


def test_paths_and_arrays_give_the_same_features(images, tmp_path):
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    extractor = colour_extractor()
    np.testing.assert_array_equal(extract(extractor, paths), extract(extractor, images))


def test_batch_size_does_not_change_features(images):
    many = dataclasses.replace(build_extractor("random-squeezenet1_1", resize_px=48), batch_size=5)
    one = dataclasses.replace(many, batch_size=1)
    np.testing.assert_allclose(extract(one, images), extract(many, images), rtol=1e-4, atol=1e-5)


def test_identities_make_protocols_and_tell_every_choice_apart():
    knobs = [
        {},
        {"resize": "tf1"},
        {"resize_px": 32},
        {"compute": Compute(precision="bf16")},
        {"input": "caffe"},
    ]
    identities = [build_extractor("random-squeezenet1_1", **{"resize_px": 48, **k}).identity for k in knobs]
    protocols = {ScoreProtocol(**i, num_images=5, reference_digest="d").identity for i in identities}
    assert len(protocols) == len(knobs)
    assert identities[0]["resize"] == "clean@48"
    assert identities[3]["resize"] == "clean@48+bf16"


def test_a_random_inception_is_never_called_inception(images):
    extractor = build_extractor("random-inception", resize_px=96)
    assert extractor.identity["extractor"] == "random-inception"
    assert extractor.dim == 2048
    assert extractor.probabilities(images[:2]).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert extract(extractor, images[:2]).std() > 0


def test_other_weights_in_the_inception_network_are_named_so(tmp_path):
    torch.save(build_state(), tmp_path / "mine.pth")
    extractor = build_extractor("inception", weights=tmp_path / "mine.pth", resize_px=96)
    name = extractor.identity["extractor"]
    assert name == f"inception-{extractor.identity['weights_sha256'][:8]}"
    protocol = ScoreProtocol(**extractor.identity, num_images=2, reference_digest="d")
    assert protocol.space == name


def build_state():
    from d2n.scores.trunks import random_network

    return random_network("inception", seed=3)[0].state_dict()


def test_probabilities_of_another_network_are_refused(images):
    with pytest.raises(ConfigError, match="no class probabilities"):
        colour_extractor().probabilities(images)


def test_bf16_is_close_to_fp32(images):
    full = extract(build_extractor("random-squeezenet1_1", resize_px=64), images)
    half = extract(
        build_extractor("random-squeezenet1_1", resize_px=64, compute=Compute(precision="bf16")), images
    )
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05 * np.abs(full).max())


def test_a_second_extraction_reads_the_cache_in_any_order(images, tmp_path):
    extractor, cache = colour_extractor(), FeatureCache(tmp_path)
    names = [f"sha{i}" for i in range(len(images))]
    first = extract(extractor, images, names, cache)
    seen = extractor.net.seen
    again = extract(extractor, images[::-1], names[::-1], cache)
    np.testing.assert_array_equal(again, first[::-1])
    assert extractor.net.seen == seen
    extract(extractor, images[:3], names[:3], cache)
    assert extractor.net.seen == seen + 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "random-squeezenet1_1", "resize": "lanczos"}, "expected one of clean, tf1, torch"),
        ({"name": "random-squeezenet1_1", "compute": Compute(precision="fp8")}, "fp32, bf16"),
        ({"name": "retrieval:x@y"}, "given as a module"),
        ({"name": "random-swin_t"}, "a torchvision classifier, dinov2_vits14"),
    ],
)
def test_wrong_choices_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        build_extractor(**arguments)


def test_no_image_and_bad_images_are_refused(tmp_path):
    extractor = colour_extractor()
    with pytest.raises(DataError, match="folder empty"):
        extract(extractor, [])
    with pytest.raises(DataError, match=r"shape \(4, 4\)"):
        extract(extractor, [np.zeros((4, 4), np.uint8)])
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"^.*broken\.jpg: "):
        extract(extractor, [tmp_path / "broken.jpg"])


def test_module_sha256_depends_on_every_weight():
    net = nn.Linear(3, 2)
    before = module_sha256(net)
    with torch.no_grad():
        net.bias[1] += 1e-6
    assert module_sha256(net) != before


def test_unpublished_weights_say_how_their_input_is_taken(tmp_path, caplog):
    """The same file scores otherwise under another evaluation.input: one line says which was taken."""
    torch.manual_seed(0)
    path = tmp_path / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_0(weights=None).state_dict(), path)
    build_extractor("squeezenet1_0", weights=path, resize_px=64, input="caffe")
    (record,) = caplog.records
    assert "evaluation.input=caffe" in record.message
    assert str(path) in record.message


def test_a_side_too_small_for_the_network_is_one_line():
    with pytest.raises(
        ConfigError, match=r"evaluation\.resize_px is 8: too small for random-squeezenet1_0"
    ) as e:
        build_extractor("random-squeezenet1_0", resize_px=8)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("resize", ["clean", "tf1", "torch"])
def test_images_of_many_sizes_resized_on_the_device_give_the_same_features(monkeypatch, resize):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in [(40, 50), (64, 64), (40, 50)] * 2]
    extractor = build_extractor("random-squeezenet1_1", resize=resize, resize_px=64)
    alone = extract(extractor, images)
    monkeypatch.setattr(type(extractor), "_resizes_on_device", True)
    np.testing.assert_allclose(extract(extractor, images), alone, rtol=1e-3, atol=1e-4)
