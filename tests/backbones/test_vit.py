"""Vision transformers as trunks: torchvision's against itself, DINOv2's against its published layout written out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional

from d2n.backbones import BACKBONES
from d2n.backbones.vit import DinoV2, ViTTrunk, positions
from d2n.config import NetworkConfig
from d2n.errors import WeightsError
from d2n.retrieval import network
from d2n.scores import features
from d2n.scores.trunks import build_trunk


def small_vit() -> torchvision.models.VisionTransformer:
    torch.manual_seed(0)
    return torchvision.models.VisionTransformer(
        32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24
    ).eval()


def small_dino(registers: int = 0) -> DinoV2:
    """With every tensor away from its start."""
    torch.manual_seed(0)
    made = DinoV2(24, 2, 3, registers, side=3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def test_torchvisions_patches_are_those_that_its_own_forward_sees() -> None:
    model = small_vit()
    images = torch.rand(2, 3, 32, 32)
    seen: list[Tensor] = []
    hook = model.encoder.register_forward_hook(lambda *found: seen.append(found[2]))
    with torch.inference_mode():
        model(images)
        maps = ViTTrunk(model)(images)
    hook.remove()
    assert maps.shape == (2, 16, 4, 4)
    assert torch.allclose(maps.flatten(2).transpose(1, 2), seen[0][:, 1:], atol=1e-5)


@pytest.mark.parametrize(("height", "width", "maps"), [(32, 48, (4, 6)), (33, 50, (4, 6)), (3, 20, (1, 2))])
def test_images_of_any_size_have_maps(height: int, width: int, maps: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert ViTTrunk(small_vit())(torch.rand(1, 3, height, width)).shape == (1, 16, *maps)


def dino(state: Mapping[str, Tensor], x: Tensor, heads: int) -> Tensor:
    """(B, 3, H, W), sides multiples of 14, to the normalised patches (B, N, C): the published code in functions."""

    def norm(y: Tensor, name: str) -> Tensor:
        return functional.layer_norm(y, y.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(y: Tensor, name: str) -> Tensor:
        return functional.linear(y, state[f"{name}.weight"], state[f"{name}.bias"])

    y = functional.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    height, width = y.shape[-2:]
    y = torch.cat([state["cls_token"].expand(len(x), -1, -1), y.flatten(2).transpose(1, 2)], 1)
    grid = state["pos_embed"][:, 1:].reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
    registers = state.get("register_tokens")
    if (height, width) != (3, 3) and registers is None:
        grid = functional.interpolate(
            grid, scale_factor=((height + 0.1) / 3, (width + 0.1) / 3), mode="bicubic"
        )
    elif (height, width) != (3, 3):
        grid = functional.interpolate(grid, size=(height, width), mode="bicubic", antialias=True)
    y = y + torch.cat([state["pos_embed"][:, :1], grid.flatten(2).transpose(1, 2)], 1)
    if registers is not None:
        y = torch.cat([y[:, :1], registers.expand(len(x), -1, -1), y[:, 1:]], 1)
    for i in range(2):
        name, (batch, count, dim) = f"blocks.{i}", y.shape
        q, k, v = linear(norm(y, f"{name}.norm1"), f"{name}.attn.qkv").split(dim, dim=-1)
        q, k, v = (t.reshape(batch, count, heads, -1).transpose(1, 2) for t in (q, k, v))
        attention = (q @ k.transpose(-2, -1) / (dim // heads) ** 0.5).softmax(-1)
        found = linear((attention @ v).transpose(1, 2).reshape(batch, count, dim), f"{name}.attn.proj")
        y = y + state[f"{name}.ls1.gamma"] * found
        found = linear(
            functional.gelu(linear(norm(y, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2"
        )
        y = y + state[f"{name}.ls2.gamma"] * found
    return norm(y, "norm")[:, 1 + (0 if registers is None else registers.shape[1]) :]


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize(("height", "width"), [(42, 42), (28, 70)])
def test_dinov2_is_as_published(registers: int, height: int, width: int) -> None:
    model, images = small_dino(registers), torch.rand(2, 3, height, width)
    with torch.inference_mode():
        maps = model(images)
        expected = dino(model.state_dict(), images, heads=3)
    assert maps.shape == (2, 24, height // 14, width // 14)
    assert torch.allclose(maps.flatten(2).transpose(1, 2), expected, atol=1e-5)


def test_positions_that_fit_stay_and_others_keep_the_first() -> None:
    embedding = torch.rand(1, 10, 4)
    assert positions(embedding, 3, 3) is embedding
    other = positions(embedding, 2, 5, offset=0.1)
    assert other.shape == (1, 11, 4)
    assert torch.equal(other[:, 0], embedding[:, 0])


def test_the_published_names_and_shapes_of_a_file() -> None:
    with torch.device("meta"):
        own = {name: tuple(t.shape) for name, t in BACKBONES["dinov2_vits14"].trunk().state_dict().items()}
        registers = BACKBONES["dinov2_vitb14_reg"].trunk().state_dict()
    assert own["pos_embed"] == (1, 1370, 384)
    assert own["blocks.11.attn.qkv.weight"] == (1152, 384)
    assert {name.partition(".")[0] for name in own} == {
        "cls_token", "pos_embed", "mask_token", "patch_embed", "blocks", "norm",
    }  # fmt: skip
    with torch.device("meta"):
        assert sum(t.numel() for t in BACKBONES["dinov2_vits14"].trunk().state_dict().values()) == 22_056_576
    assert tuple(registers["register_tokens"].shape) == (1, 4, 768)


def test_a_local_file_is_trunk_and_extractor(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file, state = tmp_path / "dinov2_vits14_pretrain.pth", BACKBONES["dinov2_vits14"].trunk().state_dict()
    torch.save(state, file)
    net = network.build(NetworkConfig(backbone="dinov2_vits14", weights=str(file)))
    assert network.descriptor_dim(net) == 384
    assert torch.equal(net.state_dict()["features.blocks.3.mlp.fc1.weight"], state["blocks.3.mlp.fc1.weight"])
    trunk, _ = build_trunk("dinov2_vits14", file)
    assert torch.equal(trunk.state_dict()["trunk.norm.weight"], state["norm.weight"])
    with pytest.raises(WeightsError, match="the weights of dinov2_vits14 are not fetched, name a local file"):
        network.build(NetworkConfig(backbone="dinov2_vits14"))
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="none of dinov2_vits14's trunk"):
        network.build(NetworkConfig(backbone="dinov2_vits14", weights=str(file)))


def test_extractors_are_known_by_name() -> None:
    for name in ("vit_b_16", "dinov2_vitl14", "random-dinov2_vits14_reg"):
        features.check_extractor(name)
