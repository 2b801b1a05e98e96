"""Copying a translator's state out and in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from d2n.errors import CheckpointError
from d2n.translators import distributed

if TYPE_CHECKING:
    from d2n.translators.gan import Gan


def snapshot(value: Any) -> Any:
    """A deep copy on the CPU: nested dicts, lists and tuples of tensors and plain values."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: snapshot(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(inner) for inner in value)
    return value


def load_state(translator: Gan, state: Mapping[str, Any]) -> None:
    """Put ``Gan.state()`` back; nothing is changed when the architecture differs."""
    _check_fits(translator, state)
    for name, network in translator.networks.items():
        network.load_state_dict(state["networks"][name])
    for name, optimizer in translator.optimizers.items():
        optimizer.load_state_dict(snapshot(state["optimizers"][name]))
    if translator.ema is not None:
        translator.ema.load_state_dict(state["ema"])
    if translator.config.lambda_history:
        for name, history in translator.histories.items():
            history.load_state(state["histories"][name])
    own = state["processes"][distributed.rank()]
    for domain, pool in translator.pools.items():
        pool.load_state(own["pools"][domain], translator.device)
    translator.interval_losses.load_state(own["interval_losses"], translator.device)
    translator.epoch_losses.load_state(own["epoch_losses"], translator.device)
    translator.steps_done = int(state["steps_done"])
    if translator.recorded is not None:
        translator.recorded.forget()


def differing_keys(module: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Keys that only one side has, or with other shapes, each with what was found and what was expected."""
    mine = module.state_dict()
    lines = [f"{key} missing" for key in mine if key not in weights]
    lines += [f"{key} unknown" for key in weights if key not in mine]
    return lines + [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(mine[key].shape)}"
        for key in mine
        if key in weights and weights[key].shape != mine[key].shape
    ]


def weights_digest(module: nn.Module) -> str:
    """Hex sha256 over the names and the bytes of a module's parameters, as float32."""
    digest = hashlib.sha256()
    for name, tensor in module.named_parameters():
        digest.update(name.encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check_fits(translator: Gan, state: Mapping[str, Any]) -> None:
    method = translator.config.method
    if state.get("method") != method:
        raise CheckpointError(f"the checkpoint is of method {state.get('method')!r}, this run is {method!r}")
    _check_domains(translator.domains, tuple(state.get("domains", ("day", "night"))))
    for name, network in translator.networks.items():
        keys = differing_keys(network, state["networks"].get(name, {}))
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise CheckpointError(
                f"the checkpoint is of another architecture: {name}: {', '.join(keys[:5])}{more}; "
                "resume with the knobs that it was made with"
            )
    if (translator.ema is None) != (state["ema"] is None):
        has = "has no" if state["ema"] is None else "has a"
        raise CheckpointError(f"the checkpoint {has} moving average, unlike translator.ema_decay says")
    if translator.config.lambda_history and not state["histories"]:
        raise CheckpointError(
            "the checkpoint has no parameter history, which translator.lambda_history needs"
        )
    if len(state["processes"]) != distributed.world_size():
        raise CheckpointError(
            f"the checkpoint is of {len(state['processes'])} processes, this run has "
            f"{distributed.world_size()}; start as many as before"
        )


def _check_domains(mine: tuple[str, ...], saved: tuple[str, ...]) -> None:
    """CheckpointError where the domains, or their order, differ: each has networks of its own."""
    if mine == saved:
        return
    more = [domain for domain in mine if domain not in saved]
    lacks = f": it has no {', '.join(more)}" if more else ""
    raise CheckpointError(
        f"the checkpoint is of the domains {', '.join(saved)}, this run of {', '.join(mine)}{lacks}; "
        "resume with the domains that it was made with, or start a new run"
    )
