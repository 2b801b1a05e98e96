"""What the methods of n domains share: all directions, and a sample grid of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from d2n.errors import ConfigError
from d2n.translators.gan import Gan, Player


class ManyDomains(Gan):
    """A GAN that translates each of its domains to each other one."""

    @abstractmethod
    def between(self, images: Tensor, source: str, target: str) -> Tensor:
        """(B, 3, H, W) of ``source`` in [-1, 1], any size, to fakes of ``target``; float32, in eval mode."""

    def grid(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A sample sheet of all directions: the images of each domain, then what is made of them."""
        rows: dict[str, Tensor] = {}
        for source, real in images.items():
            rows[source] = real
            for target in self.domains:
                if target != source:
                    rows[f"{source} to {target}"] = self.between(real, source, target)
        return rows

    def _minimise(self, player: Player, loss: Tensor) -> Tensor:
        return self._optimize(player, [lambda: {"loss": loss}])["loss"]

    def _refuse_parts(self) -> None:
        if self.config.accumulate > 1:
            raise ConfigError(
                f"translator.accumulate is {self.config.accumulate}: {self.config.method} takes its batch at once; "
                "expected 1"
            )
