"""Vision transformers as trunks: the patches' outputs as maps, of images of any size.

Torchvision's (Dosovitskiy et al., ICLR 2021) under its own names, and DINOv2 (Oquab et al., 2023; with registers Darcet
et al., 2023) under those of its published files. Sides are brought to a multiple of the patch, bilinearly; embeddings
of position are interpolated to the patches that there are.
"""

from __future__ import annotations

import math

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional


class ViTTrunk(nn.Module):
    """Of torchvision's VisionTransformer all before its heads: (B, 3, H, W) to (B, C, h, w)."""

    def __init__(self, model: torchvision.models.VisionTransformer) -> None:
        super().__init__()
        self.conv_proj, self.class_token, self.encoder = model.conv_proj, model.class_token, model.encoder
        self.patch = int(model.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        x = whole_patches(x, self.patch)
        maps: Tensor = self.conv_proj(x)  # (B, C, h, w)
        height, width = maps.shape[-2:]
        tokens = with_first(self.class_token, maps.flatten(2).transpose(1, 2))
        tokens = tokens + positions(self.encoder.pos_embedding, height, width)
        out: Tensor = self.encoder.ln(self.encoder.layers(self.encoder.dropout(tokens)))
        return as_maps(out[:, 1:], height, width)


class DinoV2(nn.Module):
    """DINOv2 by the names of its published files; its patches' outputs after the last norm: (B, C, h, w)."""

    patch = 14

    def __init__(self, dim: int, depth: int, heads: int, registers: int = 0, side: int = 37) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim)) if registers else None
        self.register_buffer("mask_token", torch.zeros(1, dim))  # of its own training alone
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, self.patch, self.patch)})
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.patch_embed["proj"](whole_patches(x, self.patch))
        height, width = maps.shape[-2:]
        tokens = with_first(self.cls_token, maps.flatten(2).transpose(1, 2))
        extra = 0 if self.register_tokens is None else self.register_tokens.shape[1]
        offset = 0.0 if extra else 0.1  # what each kind of file was trained with
        tokens = tokens + positions(self.pos_embed, height, width, offset=offset, antialias=bool(extra))
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return as_maps(out[:, 1 + extra :], height, width)


class Block(nn.Module):
    """Attention and MLP, each scaled by a learned factor a channel (LayerScale) and added to what came in."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        self.ls1, self.ls2 = Scale(dim), Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self._attended(self.norm1(x)))
        found: Tensor = self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))
        out: Tensor = x + self.ls2(found)
        return out

    def _attended(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        qkv = self.attn["qkv"](x).reshape(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.attn["proj"](found.transpose(1, 2).reshape(batch, count, dim))
        return projected


class Scale(nn.Module):
    """A factor a channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def whole_patches(x: Tensor, patch: int) -> Tensor:
    """Images whose sides are the nearest multiples of the patch, at least one: resized where they are not."""
    height, width = (max(round(side / patch), 1) * patch for side in x.shape[-2:])
    if (height, width) == tuple(x.shape[-2:]):
        return x
    return functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def positions(
    embedding: Tensor, height: int, width: int, *, offset: float = 0.0, antialias: bool = False
) -> Tensor:
    """(1, 1 + N, C) of a square as (1, 1 + height * width, C), bicubic; as it is where it fits."""
    count = embedding.shape[1] - 1
    side = math.isqrt(count)
    if (height, width) == (side, side):
        return embedding
    square = embedding[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if offset:  # published code scales by it; the size comes out the same
        scale = ((height + offset) / side, (width + offset) / side)
        found = functional.interpolate(square, scale_factor=scale, mode="bicubic", antialias=antialias)
    else:
        found = functional.interpolate(square, size=(height, width), mode="bicubic", antialias=antialias)
    patches = found.permute(0, 2, 3, 1).reshape(1, height * width, -1).to(embedding.dtype)
    return torch.cat([embedding[:, :1], patches], dim=1)


def with_first(token: Tensor, tokens: Tensor) -> Tensor:
    """The same token before each image's."""
    return torch.cat([token.expand(len(tokens), -1, -1), tokens], dim=1)


def as_maps(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, h * w, C) to (B, C, h, w)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
