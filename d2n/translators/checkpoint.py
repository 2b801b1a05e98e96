"""Checkpoints that are whole or absent, and generators that describe themselves.

A checkpoint is ``checkpoint-<number>.pt`` (tensors and plain values, read with weights_only) and, written
after it, ``checkpoint-<number>.json`` with its sha256 and the caller's meta. A pair whose sum does not match
does not count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from d2n.backbones.weights import DAMAGE, parse_safetensors, state_dict, unread
from d2n.backbones.weights import MAX_BYTES as WEIGHTS_BYTES
from d2n.config import TranslatorConfig
from d2n.config.methods import DEFAULT, METHODS, without_foreign
from d2n.errors import CheckpointError, WeightsError
from d2n.files import journal, nesting
from d2n.files.fields import check_fields
from d2n.files.json import MAX_BYTES, read_json_object
from d2n.files.reading import brief, one_line, read_bytes, reason
from d2n.files.refusals import refusal
from d2n.files.writing import aside, write_bytes, write_text
from d2n.translators.from_config import generator_from_config
from d2n.translators.state import differing_keys

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What ``load`` found."""

    state: dict[str, Any]
    meta: dict[str, Any]
    path: Path


def save(
    folder: str | Path, state: Mapping[str, Any], meta: Mapping[str, Any], keep_previous: bool = True
) -> Path:
    """Write a new checkpoint; older ones go only when it is whole, all but one of them if ``keep_previous``.

    ``meta`` must be what JSON holds. CheckpointError when the disk is full or refuses; what was there stays.
    """
    folder = Path(folder)
    number = max(_numbers(folder), default=0) + 1
    target = folder / f"checkpoint-{number:06d}.pt"
    began = journal.now()
    with _told(folder):
        with aside(target, durable=True) as part:
            torch.save(dict(state), part)
        record = {"sha256": _sha256(target), "meta": dict(meta)}
        text = json.dumps(record, indent=1, sort_keys=True)
        write_text(target.with_suffix(".json"), text, durable=True)
    journal.note("checkpoint", began, path=str(target), sha256=record["sha256"])
    _remove_older(folder, number, keep_previous)
    return target


def load(folder: str | Path, map_location: str = "cpu") -> Checkpoint:
    """The newest whole checkpoint; a damaged one is passed over, and logged. CheckpointError when there is
    none.
    """
    folder = Path(folder)
    reasons = []
    for number in sorted(_numbers(folder), reverse=True):
        path = folder / f"checkpoint-{number:06d}.pt"
        try:
            return _read(path, map_location)
        except CheckpointError as error:
            reasons.append(str(error))
            logger.warning("%s; falling back to the one before", error)
    found = "; ".join(reasons) if reasons else "no checkpoint here"
    raise CheckpointError(f"{folder}: {found}: nothing to resume from, start the run anew")


def save_generator(
    folder: str | Path,
    generator: nn.Module,
    config: TranslatorConfig,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write generator.safetensors and generator.json (its config, sha256 and ``extra``), each whole or not
    at all.
    """
    folder = Path(folder)
    tensors = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    payload = save_safetensors(tensors)
    card = {
        "config": dataclasses.asdict(config),
        "sha256": hashlib.sha256(payload).hexdigest(),
        **(extra or {}),
    }
    with _told(folder):
        write_bytes(folder / "generator.safetensors", payload, durable=True)
        write_text(folder / "generator.json", json.dumps(card, indent=1, sort_keys=True), durable=True)
    return folder / "generator.safetensors"


def load_generator(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The generator in eval mode on the CPU, with its ``inference_norm`` set, and its config as a dict.

    WeightsError when a file is absent, damaged or of another architecture.
    """
    folder = Path(folder)
    card = _read_card(folder / "generator.json")
    config = config_from_dict(card["config"], str(folder / "generator.json"))
    weights = _read_tensors(folder / "generator.safetensors", card.get("sha256"))
    with torch.device("meta"):  # shapes alone: a card of a few bytes may name a network of many GB
        check_weights(generator_from_config(config), weights, str(folder))
    generator = generator_from_config(config)
    load_weights(generator, weights, str(folder))
    return generator.eval().requires_grad_(False), dict(card["config"])


def load_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Put ``weights`` into ``module``; WeightsError with the differing keys when they are of another one."""
    check_weights(module, weights, source)
    module.load_state_dict(dict(weights))


def check_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """WeightsError with the differing keys when ``weights`` are not ``module``'s."""
    keys = differing_keys(module, weights)
    if keys:
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise WeightsError(
            f"{source}: weights of another architecture: {one_line(', '.join(keys[:5]), 400)}{more}"
        )


def save_best(
    folder: str | Path,
    generator: nn.Module,
    config: TranslatorConfig,
    *,
    score: float,
    step: int,
    keep: int = 1,
) -> bool:
    """Keep the ``keep`` generators of lowest score in ``folder``/step-<step>; whether this one is among
    them.
    """
    folder = Path(folder)
    save_generator(folder / f"step-{step:08d}", generator, config, {"score": score, "step": step})
    ranked = ranked_generators(folder)
    for _, path in ranked[keep:]:
        for name in (
            "generator.json",
            "generator.safetensors",
        ):  # the card first: without it, it does not count
            (path / name).unlink(missing_ok=True)
        path.rmdir()
    return any(path.name == f"step-{step:08d}" for _, path in ranked[:keep])


def save_beside(folder: str | Path, generator: nn.Module, config: TranslatorConfig, step: int) -> None:
    """Keep a generator in ``folder``/step-<step>, and no other there but of the steps that ``best`` beside keeps."""
    folder = Path(folder)
    save_generator(folder / f"step-{step:08d}", generator, config, {"step": step})
    kept = {path.name for _, path in ranked_generators(folder.parent / "best")}
    for path in folder.glob("step-*"):
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def ranked_generators(folder: str | Path) -> list[tuple[float, Path]]:
    """(score, folder) of what ``save_best`` keeps, best first; the earlier step wins a tie."""
    ranked = []
    for path in Path(folder).glob("step-*/generator.json"):
        try:
            card = _read_card(path)
            ranked.append((nesting.number(card["score"]), nesting.whole(card["step"]), path.parent))
        except (WeightsError, LookupError, TypeError, ValueError) as error:
            logger.warning("%s: is no generator that was kept for its score (%s)", path, reason(error))
    return [(score, path) for score, _, path in sorted(ranked)]


def forget_later(folder: str | Path, step: int) -> None:
    """Remove what ``save_best`` kept of later steps: a resumed run takes them, and scores them, again."""
    for path in Path(folder).glob("step-*"):
        number = path.name.removeprefix("step-")
        if number.isdigit() and int(number) > step:
            for name in ("generator.json", "generator.safetensors"):
                (path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else lies there
                path.rmdir()


def config_from_dict(values: Mapping[str, Any], source: str) -> TranslatorConfig:
    """The knobs of a method from JSON values; WeightsError names a knob that is none.

    A description of before each method had knobs of its own carries those of the others, which are passed over.
    """
    method = values.get("method", DEFAULT.name)
    if not isinstance(method, str) or method not in METHODS:
        raise WeightsError(f"{source}: method is {brief(method)}, expected one of {', '.join(METHODS)}")
    own = without_foreign(values)
    check_fields(METHODS[method].config, own, source, WeightsError)
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
    return METHODS[method].config(**plain)


def _read(path: Path, map_location: str) -> Checkpoint:
    beside = path.with_suffix(".json")
    record = read_json_object(beside, CheckpointError, at_most=MAX_BYTES)
    meta = record.get("meta")
    if not isinstance(record.get("sha256"), str) or not isinstance(meta, dict):
        raise CheckpointError(f"{beside}: cannot be read (expected a sha256 and a meta)")
    try:
        if _sha256(path) != record["sha256"]:
            raise CheckpointError(f"{path}: damaged (its sha256 is not the one beside it)")
        state = torch.load(path, map_location=map_location, weights_only=True)
    except DAMAGE as error:
        raise CheckpointError(f"{path}: cannot be read ({unread(error)})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds {type(state).__name__}, expected the state of a run")
    return Checkpoint(state, meta, path)


def _read_card(path: Path) -> dict[str, Any]:
    card = read_json_object(path, WeightsError, absent="cannot be read (no such file)")
    if not isinstance(card.get("config"), dict) or not isinstance(card.get("sha256"), str | None):
        raise WeightsError(f"{path}: not a generator's card (no config in it)")
    return card


def _read_tensors(path: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    absent = "cannot be read (no such file)"
    payload = read_bytes(path, WeightsError, at_most=WEIGHTS_BYTES, absent=absent)
    if sha256 is not None and hashlib.sha256(payload).hexdigest() != sha256:
        raise WeightsError(f"{path}: damaged (its sha256 is not the one in generator.json)")
    return state_dict(parse_safetensors(payload, str(path)), str(path))


def _numbers(folder: Path) -> list[int]:
    names = (path.stem.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*.pt"))
    return [int(name) for name in names if name.isdigit()]


def _remove_older(folder: Path, newest: int, keep_previous: bool) -> None:
    """All but the newest and, where asked, the whole one before it: one that was killed in its writing is not whole."""
    older = [number for number in _numbers(folder) if number < newest]
    whole = [number for number in older if (folder / f"checkpoint-{number:06d}.json").exists()]
    kept = max(whole, default=0) if keep_previous else 0
    for number in older:
        if number != kept:
            for suffix in (".json", ".pt"):
                (folder / f"checkpoint-{number:06d}{suffix}").unlink(missing_ok=True)
    for partial in folder.glob(".checkpoint-*"):  # of processes that were killed in their writing
        partial.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by RuntimeError
        raise CheckpointError(
            f"{folder}: cannot be written ({refusal(error, folder) or error}); what was there is kept: mend that, "
            "then resume"
        ) from error
