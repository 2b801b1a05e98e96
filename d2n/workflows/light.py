"""The photometric network that ``network.light_weights`` names in the registry, as a file of this machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from safetensors.torch import save as save_safetensors

from d2n.backbones.mdir_unet import MdirUNet
from d2n.config import NetworkConfig
from d2n.errors import ConfigError
from d2n.files.writing import write_bytes
from d2n.workflows import generators
from d2n.workflows.preflight import light_reference

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

FOLDER = "light"  # below the work folder: by the digest of what is in it


def pulled(
    network: NetworkConfig, store: Store, reference: str | None = None
) -> tuple[NetworkConfig, generators.Generator | None]:
    """The knobs with a file in the place of what they name in the registry, and that generator; else as they are.

    ``reference`` goes before the knobs': what an interrupted run began with. ConfigError where it is no photometric
    network.
    """
    named = light_reference(network)
    if named is None:
        return network, None
    found = generators.load(reference or named, store)
    if not isinstance(found.module, MdirUNet):
        raise ConfigError(
            f"network.light_weights: {found.origin} is a {found.config.get('generator')} of "
            f"{found.config.get('method')}, expected a photometric network (translator.method=photometric)"
        )
    path = store.work_root / FOLDER / f"{found.sha256}.safetensors"
    if not path.exists():
        tensors = {name: tensor.contiguous() for name, tensor in found.module.state_dict().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save_safetensors(tensors))
    return dataclasses.replace(network, light_weights=str(path)), found
