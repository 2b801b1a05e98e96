"""The image pool: discriminators see fakes of earlier steps too (Shrivastava et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from d2n.translators.nhwc import is_channels_last


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
        self.laid_out: LaidOutPool | None = None  # holds them instead while a recorded step is replayed

    def query(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; without gradients."""
        images = images.detach()
        if self.size == 0:
            return images
        if self.laid_out is not None:
            return self.laid_out.exchange(images)
        return torch.cat([self._exchange(image) for image in images.chunk(len(images))])

    def draw(self, num_stored: int) -> int | None:
        """Where the next image is to be stored: behind the others, in the place of one, or nowhere."""
        if num_stored < self.size:
            return num_stored
        if torch.rand((), generator=self.random).item() < 0.5:
            return None
        return int(torch.randint(self.size, (), generator=self.random).item())

    @property
    def is_uniform(self) -> bool:
        """Whether the images are of one size, so that they can be laid out."""
        return len({image.shape for image in self.images}) < 2

    def lay_out(self, batch: int) -> None:
        """From now on ``query`` takes ``batch`` images, and what it does is told to it by ``plan`` before."""
        if self.images:
            self.laid_out, self.images = LaidOutPool(self.images, self.size, batch), []

    def plan(self) -> None:
        """Draw what the next ``query`` of a laid out pool does."""
        if self.laid_out is not None:
            self.laid_out.plan(self.draw)

    def gather(self) -> None:
        """Back to images of their own."""
        if self.laid_out is not None:
            self.images, self.laid_out = self.laid_out.images(), None

    def state(self) -> dict[str, Any]:
        """Contents and random state."""
        images = list(self.images) if self.laid_out is None else self.laid_out.images()
        return {"images": images, "random": self.random.get_state()}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.laid_out = None
        self.images = [image.to(device) for image in state["images"]]
        self.random.set_state(state["random"].cpu())

    def _exchange(self, image: Tensor) -> Tensor:
        place = self.draw(len(self.images))
        if place is None:
            return image
        if place == len(self.images):
            self.images.append(image.clone())
            return image
        stored, self.images[place] = self.images[place], image.clone()
        return stored


class LaidOutPool:
    """A pool's images in one tensor, which a batch is exchanged with by indices alone.

    So the exchange is the same operations in each step, as a CUDA graph replays them; what they do lies in
    ``indices``, drawn before as ImagePool draws it.
    """

    def __init__(self, images: Sequence[Tensor], size: int, batch: int) -> None:
        first = images[0]
        self.size, self.num_stored = size, len(images)
        layout = torch.channels_last if is_channels_last(first) else torch.contiguous_format
        shape = (size + 1, *first.shape[1:])  # the last for what nobody keeps
        self.stored = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout).zero_()
        for place, image in enumerate(images):
            self.stored[place] = image[0]
        self.indices = torch.zeros(4, batch, dtype=torch.int64, device=first.device)

    def plan(self, draw: Callable[[int], int | None]) -> None:
        """For each image: whether a stored one is given for it, which, else which of the batch; where it is stored."""
        batch, size = self.indices.shape[1], self.size
        last: dict[int, int] = {}  # which of the batch was stored last, by place
        rows: list[tuple[int, int, int]] = []
        places = []
        for i in range(batch):
            place = draw(self.num_stored)
            places.append(place)
            if place is None:
                rows.append((0, 0, i))
                continue
            if place == self.num_stored:
                self.num_stored += 1
                rows.append((0, 0, i))
            else:
                rows.append((0, 0, last[place]) if place in last else (1, place, i))
            last[place] = i
        kept = [place if place is not None and last[place] == i else size for i, place in enumerate(places)]
        told = torch.tensor([(*row, place) for row, place in zip(rows, kept, strict=True)]).T.contiguous()
        if self.indices.device.type == "cuda":
            told = told.pin_memory()
        self.indices.copy_(told, non_blocking=True)

    def exchange(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        from_pool, place, other, kept = self.indices
        stored, given = self.stored[place], images[other]
        self.stored.index_copy_(0, kept, images)
        return torch.where(from_pool.bool().view(-1, 1, 1, 1), stored, given)

    def images(self) -> list[Tensor]:
        """What is stored, (1, C, H, W) each."""
        return [self.stored[i : i + 1].clone() for i in range(self.num_stored)]
