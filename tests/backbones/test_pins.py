"""What stores hold of extractors and networks stays true: identities to the letter, features to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from d2n.backbones.normalisation import NORMALISATIONS, of_unit_range
from d2n.config import NetworkConfig
from d2n.retrieval import network
from d2n.scores.features import build_extractor, extract

EXTRACTORS = [
    (
        "random-squeezenet1_0",
        "8bc4c502e9f76643caa9dd25ecf1c53e87d0b3328bcf350994ad7515965d5a66",
        [1.499705, 4.418093, 0.593316, 4.635141],
    ),
    (
        "random-resnet18",
        "b86060e45116319ed514cf35c5d2b0d1c8606e0ba8bd9570cb199debf46179f4",
        [0.5749649, 1.466492, 1.227637, 0.2463943],
    ),
]
NETWORKS = [
    (
        "toy",
        "9b408fbf4f98f9e5e1ef5be5d86827778ffe5390069563ade404f9ada04b4769",
        [0.2114565, -0.01024994, 0.08505869, -0.05945845],
    ),
    (
        "resnet18",
        "15aaeffdc65d77df44944a32b4446d6028c853645edf1ca021bf6d3e0b88fd08",
        [0.03398668, 0.01769905, 1.741526e-08, 0.04795253],
    ),
]


@pytest.mark.parametrize(("name", "sha256", "expected"), EXTRACTORS)
def test_an_extractors_identity_and_features_stay(name: str, sha256: str, expected: list[float]) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8))
    extractor = build_extractor(name, resize_px=64)
    assert extractor.identity == {"extractor": name, "weights_sha256": sha256, "resize": "clean@64"}
    np.testing.assert_allclose(extract(extractor, images)[0, :4], expected, rtol=1e-4)


@pytest.mark.parametrize(("backbone", "fingerprint", "expected"), NETWORKS)
def test_a_networks_weights_and_descriptors_stay(
    backbone: str, fingerprint: str, expected: list[float]
) -> None:
    images = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    net = network.build(NetworkConfig(backbone=backbone, weights="none"), seed=1)
    assert network.fingerprint(net) == fingerprint
    with torch.inference_mode():
        np.testing.assert_allclose(net(images)[0, :4].numpy(), expected, rtol=1e-3, atol=1e-7)


def test_one_table_serves_both_ranges_to_the_bit() -> None:
    published = {"mean": (0.485, 0.456, 0.406), "scale": (0.229, 0.224, 0.225)}  # torchvision's
    assert torch.equal(torch.tensor(of_unit_range("imagenet")), torch.tensor(list(published.values())))
    for kind in NORMALISATIONS:
        assert all(0 < value <= 1 for values in of_unit_range(kind) for value in values)
