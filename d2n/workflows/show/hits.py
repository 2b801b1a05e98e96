"""The photographs of a folder that a network finds for one photograph, by day and by night."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image

from d2n.datasets.images import load_rgb, save_rgb
from d2n.devices import resolve_device
from d2n.files.scratch import scratch
from d2n.retrieval.images import shrink
from d2n.retrieval.ranking import rank
from d2n.retrieval.whitening import Whitening
from d2n.workflows.evaluate import view_of
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.folder import default_network, described, images_below
from d2n.workflows.evaluate.model import open_model, whitening_of

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

_THUMBNAIL_PX = 240


@dataclass(frozen=True)
class Hits:
    """A folder described by a network."""

    folder: Path
    names: Sequence[str]
    descriptors: np.ndarray  # (N, D)
    describer: Describer
    learned: Whitening | None
    network: str

    @classmethod
    def open(
        cls,
        folder: Path,
        network: str | None,
        store: Store,
        *,
        overrides: Sequence[str] = (),
        progress: bool = False,
    ) -> Self:
        """Describe every photograph of a folder, once: the descriptors are kept. D2NError in one line."""
        names = images_below(folder)
        model = open_model(network or default_network(store), overrides, store)
        learned = whitening_of(model, "stored")
        device = str(resolve_device(model.experiment.training.device))
        describer = Describer(
            model.net.to(device), view_of(model), store.work_root / "descriptors", progress=progress
        )
        database = described(describer, [folder / name for name in names], learned)
        return cls(folder, names, database, describer, learned, model.origin)

    def of(self, image: np.ndarray, top: int) -> list[tuple[int, float]]:
        """(number of the photograph, cosine similarity), best first; D2NError for one that is too small."""
        with scratch("photograph") as folder:
            path = folder / "photograph.png"
            save_rgb(image, path)
            query = described(self.describer, [path], self.learned)
        ranked = rank(query, self.descriptors, min(top, len(self.names)))[:, 0]
        return [(int(i), float(query[0] @ self.descriptors[i])) for i in ranked]

    def thumbnail(self, number: int) -> bytes:
        """A small JPEG of one of the folder's photographs."""
        buffer = io.BytesIO()
        image = shrink(load_rgb(self.folder / self.names[number], _THUMBNAIL_PX), _THUMBNAIL_PX)
        Image.fromarray(image).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()
