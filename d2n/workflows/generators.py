"""A generator from wherever it lies: the registry, a run, a folder. Used by score, promote, translate and retrieve."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from d2n.errors import RegistryError
from d2n.files.json import read_json_object
from d2n.files.scratch import scratch
from d2n.tracking import models, names, registry, seal
from d2n.translators import checkpoint, export
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

    def translate_array(self, day: np.ndarray) -> np.ndarray:
        """As translate, of arrays: what a stored model is compared with."""
        return self.translate(torch.from_numpy(day)).numpy()


def load(reference: str, store: Store | None, device: str = "cpu") -> Generator:
    """NAME@ALIAS, NAME/VERSION or models:/…, a run id, or a folder (or file) with generator.safetensors.

    What a store delivers is held against its seal, and refused where anything in it could run code.
    """
    path = Path(reference)
    if path.exists():
        folder = path if path.is_dir() else path.parent
        _check_pulled(folder)
        return _from_folder(folder, reference, None, device)
    if store is None:
        raise RegistryError(f"{reference}: no such folder, and no tracking store was given")
    with scratch("download") as folder:
        if _RUN_ID.fullmatch(reference):
            model_id = model_of(store, reference)
            found = registry.download_model(store, model_id, folder / "model")
            models.make_safe(found)
            return _from_folder(found, f"run {reference}", None, device)
        version = registry.resolve(store, reference)
        found = registry.download(store, version.reference, folder / "model")
        models.make_safe(found)
        return _from_folder(found, f"{version.name} version {version.version}", version, device)


def require_sound(store: Store, version: RegisteredVersion) -> None:
    """RegistryError where a version's files were changed since it was registered, or could run code.

    One without files is another matter: registry.missing_files.
    """
    if registry.missing_files(store, version):
        return
    with scratch("check") as above:
        models.make_safe(registry.download(store, version.reference, above / "model"))


def model_of(store: Store, run_id: str) -> str:
    """The logged model of a translation run; RegistryError where it has none."""
    record = store.get(run_id)
    model_id = record.logged_model
    if not model_id:
        raise RegistryError(
            f"run {run_id} ({record.status}) logged no generator; only finished translation runs do"
        )
    return model_id


def renewed(store: Store, run_id: str, model_id: str) -> str:
    """The logged model with an archive of today: the given one, or a new one of its weights.

    One of an earlier release takes [-1, 1], has a pickle in its archive and no sums. The new model is logged in the
    same run, takes [0, 1] and uint8, and is what the run's tag names from then on.
    """
    with scratch("download") as above:
        folder = registry.download_model(store, model_id, above / "model")
        if models.input_range(folder) != names.SIGNED_RANGE:
            return model_id
        models.make_safe(folder)
        generator = _from_folder(folder, f"logged model {model_id}", None, "cpu")
        described = models.metadata(folder)
        run = store.append_to(run_id)
        made = run.log_model(
            export.photographs(
                generator.module, generator.stride, generator.config.get("inference_norm", "running")
            ),
            name=names.GENERATOR,
            step=int(described.get("best_step") or 0),
            example=example(generator.stride),
            extra_files=sorted((folder / models.EXTRA_FILES).iterdir()),
            metadata={**described, "input_range": names.UNIT_RANGE},
        )
        run.set_tags({names.MODEL_ID: made})
    return made


def reseal(store: Store, version: RegisteredVersion) -> RegisteredVersion:
    """A version with a sealed archive of today that takes [0, 1]: the given one, or a new one of its weights.

    The new version has the former's tags and a tag that names it, and takes its aliases over. Asked again it gives
    the same one; a version whose files are gone stays as it is.
    """
    if registry.missing_files(store, version):
        return version
    for known in registry.list_versions(store, version.name):
        if known.tags.get(names.RESEALED_FROM) == version.version:
            return known
    model_id = renewed(store, version.run_id, version.model_id)
    if model_id == version.model_id:
        return version
    sums = (names.SEAL, names.INPUT_RANGE, "d2n.used_by.")
    tags = {key: value for key, value in version.tags.items() if not key.startswith(sums)}
    made = registry.register(
        store,
        model_name=version.name,
        run_id=version.run_id,
        model_id=model_id,
        tags={**tags, names.RESEALED_FROM: version.version},
        description=version.description,
    )
    registry.check_version(store, made, load(version.reference, store).translate_array)
    for alias in version.aliases:
        reason = f"the weights of version {version.version} in an archive that takes [0, 1] and uint8"
        registry.set_alias(store, version.name, alias, made.version, reason=reason)
    return registry.resolve(store, made.reference)


def example(stride: int, side_px: int = 64) -> np.ndarray:
    """What a generator of that stride is traced with: two images of zeros, no side like another."""
    side = -(-max(side_px, stride) // stride) * stride
    return np.zeros((2, 3, side + 3, 2 * side + 1), np.float32)


def _check_pulled(folder: Path) -> None:
    """A folder that was pulled is held against its card; any model's is refused where it can run code."""
    if not (folder / models.DESCRIPTION).exists():
        return
    card = folder / "card.json"
    if card.exists():
        sums = read_json_object(card, RegistryError).get("sha256")
        for name, expected in sums.items() if isinstance(sums, dict) else ():
            path = folder / str(name)
            if not path.is_file() or seal.file_sum(folder, str(name)) != expected:
                raise RegistryError(
                    f"{path}: is not what was pulled (card.json has another sha256); pull it again"
                )
    models.check_safe(folder)


def _from_folder(folder: Path, origin: str, version: RegisteredVersion | None, device: str) -> Generator:
    if any(folder.rglob("*.pt2")) and not any(folder.rglob("generator.safetensors")):
        raise RegistryError(
            f"{origin}: holds an exported program (.pt2) alone, expected generator.safetensors beside it; load it by "
            "mlflow.pytorch, or take a version that d2n registered"
        )
    generator, config = checkpoint.load_generator(find_folder(folder, "generator.safetensors"))
    for parameter in generator.parameters():
        parameter.requires_grad_(False)
    return Generator(generator.to(device).eval(), cast(int, generator.stride), config, origin, version)
