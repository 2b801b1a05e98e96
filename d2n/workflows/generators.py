"""A generator from wherever it lies: the registry, a run, a folder. Used by score, promote, translate and retrieve."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from d2n.errors import RegistryError
from d2n.files.scratch import scratch
from d2n.tracking import names, registry
from d2n.translators import checkpoint
from d2n.translators import translate as translating
from d2n.workflows.evaluation import find_folder

if TYPE_CHECKING:
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Generator:
    """A generator ready to translate, and where it came from."""

    module: torch.nn.Module
    stride: int
    config: dict[str, Any]
    origin: str
    version: RegisteredVersion | None = None

    @property
    def sha256(self) -> str:
        """Of its weights and its config: two generators that share it make the same nights."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in self.module.state_dict().items():
            values = tensor.detach().cpu().contiguous().flatten()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(values.view(torch.uint8).numpy())
        return digest.hexdigest()

    def translate(self, day: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] by day, any size, to the same by night."""
        device = next(self.module.parameters()).device
        return translating.translate_batch(self.module, day.to(device), self.stride)


def load(reference: str, store: Store | None, device: str = "cpu") -> Generator:
    """NAME@ALIAS, NAME/VERSION or models:/…, a run id, or a folder (or file) with generator.safetensors."""
    path = Path(reference)
    if path.exists():
        return _from_folder(path if path.is_dir() else path.parent, reference, None, device)
    if store is None:
        raise RegistryError(f"{reference}: no such folder, and no tracking store was given")
    with scratch("download") as folder:
        if _RUN_ID.fullmatch(reference):
            record = store.get(reference)
            model_id = record.tags.get(names.MODEL_ID)
            if not model_id:
                raise RegistryError(
                    f"run {reference} ({record.status}) logged no generator; only finished translation runs do"
                )
            found = registry.download_model(store, model_id, folder / "model")
            return _from_folder(found, f"run {reference}", None, device)
        version = registry.resolve(store, reference)
        found = registry.download(store, version.reference, folder / "model")
        return _from_folder(found, f"{version.name} version {version.version}", version, device)


def _from_folder(folder: Path, origin: str, version: RegisteredVersion | None, device: str) -> Generator:
    if any(folder.rglob("*.pt2")) and not any(folder.rglob("generator.safetensors")):
        raise RegistryError(
            f"{origin}: holds an exported program (.pt2) alone, expected generator.safetensors beside it; load it by "
            "mlflow.pyfunc, or take a version that d2n registered"
        )
    generator, config = checkpoint.load_generator(find_folder(folder, "generator.safetensors"))
    for parameter in generator.parameters():
        parameter.requires_grad_(False)
    return Generator(generator.to(device).eval(), cast(int, generator.stride), config, origin, version)
