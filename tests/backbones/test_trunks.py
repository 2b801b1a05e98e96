import pytest
import torch
from torch import nn
from torch.nn import functional

from d2n.backbones import classifiers, trunks
from d2n.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("toy", 128),
        ("squeezenet1_1", 512),
        ("mobilenet_v2", 1280),
        ("resnet18", 512),
        ("mnasnet0_5", 1280),
        ("shufflenet_v2_x0_5", 1024),
        ("regnet_y_400mf", 440),
    ],
)
def test_trunks_end_before_the_pooling(name: str, channels: int) -> None:
    trunk = trunks.build_trunk(name)
    assert trunks.num_channels(trunk) == channels
    with torch.inference_mode():
        out = trunk.eval()(torch.rand(1, 3, 96, 128))
    assert out.shape[2] < out.shape[3]


@pytest.mark.parametrize("name", ["maxvit_t", "swin_t", "inception_v3", "vgg", "fcn_resnet50"])
def test_names_without_a_trunk_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"network\.backbone"):
        trunks.build_trunk(name)


def test_resnet_keys_are_those_of_the_sequence() -> None:
    keys = classifiers.classifier("resnet18").trunk_keys(
        ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "fc.weight"]
    )
    assert keys == {
        "conv1.weight": "0.weight",
        "bn1.bias": "1.bias",
        "layer1.0.conv1.weight": "4.0.conv1.weight",
    }


@pytest.mark.parametrize("side", [7, 8])
def test_tensorflow_padding_is_right_and_bottom(side: int) -> None:
    strided = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False))
    weight = strided[0].weight
    trunks.pad_as_tensorflow(strided)
    x = torch.rand(1, 3, side, side)
    pads = (0, 1, 0, 1) if side == 8 else (1, 1, 1, 1)  # total 1 for even sides, 2 for odd ones
    expected = functional.conv2d(functional.pad(x, pads), weight, stride=2)
    assert torch.equal(strided(x), expected)
    assert list(strided.state_dict()) == ["0.weight"]


def test_tensorflow_padding_reaches_only_strided_convolutions() -> None:
    plain, same = trunks.build_trunk("mobilenet_v2"), trunks.build_trunk("mobilenet_v2", tf_padding=True)
    strided = sum(type(m) is nn.Conv2d and m.stride[0] > 1 for m in plain.modules())
    assert sum(type(m) is trunks.SameConv2d for m in same.modules()) == strided == 5
    assert plain.state_dict().keys() == same.state_dict().keys()


def families() -> dict[str, list[str]]:
    """The trunks by family, the smallest names first; RegNet cannot be built on the meta device, and is tried above."""
    found: dict[str, list[str]] = {}
    for name in sorted(classifiers.names(), key=lambda n: (len(n), n)):
        if not name.startswith("regnet"):
            found.setdefault(
                name.rstrip("0123456789_bnsmlx").partition("_")[0].rstrip("0123456789"), []
            ).append(name)
    return found


def maps_of(name: str) -> torch.Tensor:
    with torch.device("meta"):  # nothing is computed there
        found: torch.Tensor = classifiers.row(name).trunk().eval()(torch.zeros(1, 3, 96, 96))
    return found


@pytest.mark.parametrize("name", [names[0] for names in families().values()])
def test_a_torchvision_trunk_of_every_family_gives_maps(name: str) -> None:
    assert maps_of(name).ndim == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for names in families().values() for name in names[1:]])
def test_every_other_torchvision_trunk_gives_maps(name: str) -> None:
    assert maps_of(name).ndim == 4
