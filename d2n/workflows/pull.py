"""``d2n pull``: a registered generator with its card, into a folder."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from d2n.errors import RegistryError
from d2n.files.writing import folder_aside, require_new
from d2n.tracking import registry, runs


def pull(model: str, out: Path, *, tracking_uri: str | None) -> list[str]:
    """Download NAME@ALIAS; the folder must be empty or absent, so that two versions never mix.

    The folder has its name when all is in it, the card too: a download that was killed is begun again.
    """
    _require_place(out)
    store = runs.open_store(tracking_uri)
    version = registry.resolve(store, model)
    card = {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "model_id": version.model_id,
        "tags": dict(version.tags),
        "description": version.description,
    }
    with folder_aside(out, durable=True) as half:
        registry.download(store, version.reference, half)
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        (half / "card.json").write_text(text, encoding="utf-8")
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    return [f"{version.name} version {version.version} in {out}", *(f"  {name}" for name in files)]


def _require_place(out: Path) -> None:
    if out.is_dir() and out.samefile(Path()):
        raise RegistryError(f"{out} is the folder you are in; name a new folder below it")
    try:
        require_new(out)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise RegistryError(
                f"{out} is not empty; name a new folder, so that two versions never mix"
            ) from error
        raise
