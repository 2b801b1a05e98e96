"""``d2n pull``: a registered generator with its card and its samples, into a folder."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from d2n.errors import RegistryError, TrackingError
from d2n.files.refusals import is_full
from d2n.files.writing import folder_aside, make_folder, require_new, require_writable
from d2n.tracking import fetching, models, names, registry, runs, seal
from d2n.workflows import card

if TYPE_CHECKING:
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store

_LOCK, _MODEL = ".lock", "model"  # in OUT.part


def pull(model: str, out: Path, *, tracking_uri: str | None) -> list[str]:
    """Download NAME@ALIAS; the folder must be empty or absent, so that two versions never mix.

    What is not whole yet lies in OUT.part, and the same command goes on there. The folder has its name when the model,
    its card and its samples are in it, held against the sums in the registry, and nothing in it can run code.
    """
    _require_place(out)
    store = runs.open_store(tracking_uri)
    version = registry.resolve(store, model)
    registry.require_files(store, version)
    with _part(out) as half:
        fetching.fill(store, version.model_id, half, version.tags)
        models.make_safe(half)
        sums = seal.manifest(half)
        _add_samples(store, version, half)
        _add_card(store, version, half, sums)
        _take_name(half, out)
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    lines = [f"{version.name} version {version.version} in {out}", *(f"  {name}" for name in files)]
    if version.tags.get(names.INPUT_RANGE, models.input_range(out)) == names.SIGNED_RANGE:
        lines.append(
            "this version is of an earlier release: its program takes float32 in [-1, 1]; promote again for one that "
            "takes [0, 1] and uint8"
        )
    return lines


@contextlib.contextmanager
def _part(out: Path) -> Iterator[Path]:
    """OUT.part, kept where the block fails: what it has of the same version is not fetched again.

    A disk that is full keeps nothing: what was written is what filled it.
    """
    half = out.with_name(f"{out.name}.part")
    if half.is_symlink() or (half.exists() and not half.is_dir()):
        raise RegistryError(f"{half} is in the way: pull keeps there what is not whole yet; move it away")
    if half.is_dir() and {entry.name for entry in half.iterdir()} - {_LOCK, _MODEL}:
        raise RegistryError(
            f"{half} is no part of a download, where pull keeps what is not whole yet: move it away"
        )
    make_folder(half / _MODEL)
    lock = filelock.FileLock(half / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RegistryError(
            f"another `d2n pull` writes {half}; wait for it, or name another folder"
        ) from error
    try:
        yield half / _MODEL
        shutil.rmtree(half)
    except Exception as error:
        if is_full(error):
            shutil.rmtree(half, ignore_errors=True)
        raise
    finally:
        lock.release()


def _take_name(half: Path, out: Path) -> None:
    with folder_aside(out, durable=True) as whole:
        for entry in half.iterdir():
            entry.rename(whole / entry.name)


def _add_samples(store: Store, version: RegisteredVersion, folder: Path) -> None:
    """The sheet of day over night; a run that has none, or is gone, takes nothing from the model."""
    if not version.run_id:
        return
    with contextlib.suppress(TrackingError):
        store.artifact(version.run_id, names.SAMPLE_SHEET, folder / "samples")


def _add_card(store: Store, version: RegisteredVersion, folder: Path, sums: dict[str, str]) -> None:
    """README.md for people, card.json for programs; both before the folder has its name."""
    described = version.description
    text = described if card.is_card(described) else card.card(store, version)
    if (folder / names.SAMPLE_SHEET).is_file():
        text += f"\n![day over night]({names.SAMPLE_SHEET})\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    values = {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "model_id": version.model_id,
        "input_range": models.input_range(folder),
        "sha256": sums,
        "tags": dict(version.tags),
        "description": version.description,
    }
    (folder / "card.json").write_text(
        json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _require_place(out: Path) -> None:
    if out.is_dir() and out.samefile(Path()):
        raise RegistryError(f"{out} is the folder you are in; name a new folder below it")
    require_writable(out.parent)
    try:
        require_new(out)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise RegistryError(
                f"{out} is not empty; name a new folder, so that two versions never mix"
            ) from error
        raise
