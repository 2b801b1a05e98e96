"""The image pool: discriminators see fakes of earlier steps too (Shrivastava et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Up to ``size`` fakes of the past.

    Images come back unchanged until the pool is full; then, each by itself with probability 0.5, an image
    takes the place of a random stored one, which is returned in its stead. ``size`` 0 returns everything
    unchanged. The draws come from a generator of its own, on the CPU, so that no step waits for a GPU.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.images: list[Tensor] = []  # each (1, C, H, W)
        self.random = torch.Generator().manual_seed(seed)

    def query(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; without gradients."""
        images = images.detach()
        if self.size == 0:
            return images
        return torch.cat([self._exchange(image) for image in images.chunk(len(images))])

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if torch.rand((), generator=self.random).item() < 0.5:
            return image
        index = int(torch.randint(self.size, (), generator=self.random).item())
        stored, self.images[index] = self.images[index], image.clone()
        return stored

    def state(self) -> dict[str, Any]:
        """Contents and random state."""
        return {"images": list(self.images), "random": self.random.get_state()}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.images = [image.to(device) for image in state["images"]]
        self.random.set_state(state["random"].cpu())
