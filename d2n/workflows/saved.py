"""What of a training is on disk, and whether it may go on from there: what both kinds of training share."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2n.config import COMPANION_KNOBS, MACHINE_KNOBS, ROUNDING_KNOBS
from d2n.errors import CheckpointError, OtherKnobsError
from d2n.translators import checkpoint

logger = logging.getLogger(__name__)
FREE_KNOBS = (*MACHINE_KNOBS, *ROUNDING_KNOBS)  # under others a run goes on
_DIGEST = re.compile(r"[0-9a-f]{64}")  # names a network that was pulled from the registry
CHANGEABLE = (*FREE_KNOBS, *COMPANION_KNOBS)  # params that may stand in a run with another value


@dataclass
class Saved:
    """What an interruption has to say of the work that it ended."""

    text: str = "nothing of it is saved yet: it begins again at step 0, in the same run"
    is_over: bool = False  # the run has ended as it should: there is nothing to go on with


def saved_state(folder: Path) -> checkpoint.Checkpoint | None:
    """The last whole checkpoint; None, with a warning, where there is none: killed before or inside the first."""
    if not folder.exists():
        logger.warning("no checkpoint in %s: from step 0, in the same run", folder)
        return None
    try:
        return checkpoint.load(folder)
    except CheckpointError as error:
        logger.warning("no whole checkpoint (%s): from step 0, in the same run", error)
        return None


def refuse_other_checkpoint(saved: Mapping[str, Any], asked: Mapping[str, Any], run_id: str) -> None:
    """OtherKnobsError where a checkpoint carries another experiment; how and where it is computed may change."""
    differing = [
        f"{room}.{key}: {saved[room][key]!r} in the checkpoint, {asked[room][key]!r} now"
        for room in ("dataset", "translator", "network", "pretraining", "training", "night")
        for key in sorted({*saved.get(room, {})} & {*asked.get(room, {})})
        if f"{room}.{key}" not in FREE_KNOBS and not _is_same(saved[room][key], asked[room][key])
    ]
    refuse_differing(run_id, differing)


def _is_same(one: Any, other: Any) -> bool:
    """Equal, or a file that is named by what is in it, wherever the store lies now."""
    if isinstance(one, str) and isinstance(other, str) and _DIGEST.fullmatch(Path(one).stem):
        return Path(one).name == Path(other).name
    return bool(one == other)


def refuse_differing(run_id: str, differing: Collection[str]) -> None:
    """OtherKnobsError that names what differs, if something does."""
    if differing:
        raise OtherKnobsError(
            f"run {run_id} was made with other knobs: {'; '.join(differing)}; resume it with those, or start a new run"
        )
