"""The Inception of 2015: the parameters of the public file, and the same features as another implementation."""

import pytest
import torch
from torch import nn

from d2n.scores.inception import InceptionFeatures


@pytest.fixture(scope="module")
def network():
    """Random weights whose activations neither vanish nor explode, batch norms included."""
    torch.manual_seed(0)
    net = InceptionFeatures()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
            nn.init.normal_(layer.bias, std=0.1)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    return torch.randint(
        0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_has_the_parameters_of_the_public_weights(network):
    assert sum(p.numel() for p in network.parameters()) == 23_850_960
    names = network.state_dict().keys()
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var", "fc.bias"} <= names


def test_features_and_probabilities_are_those_of_torch_fidelity(network, images, tmp_path):
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    theirs = fidelity.FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(tmp_path / "weights.pth")
    )
    features, logits = theirs(images)
    ours = network((images.float() - 128) / 128)
    assert features.std() > 0.01
    torch.testing.assert_close(ours, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.probabilities(ours), logits.softmax(1), rtol=1e-3, atol=1e-6)


def test_folding_the_batch_norms_keeps_the_features(network, images):
    x = (images[:1].float() - 128) / 128
    before = network(x)
    fused = InceptionFeatures()
    fused.load_state_dict(network.state_dict())
    fused = fused.requires_grad_(False).fused()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    torch.testing.assert_close(fused(x), before, rtol=1e-4, atol=1e-5)
