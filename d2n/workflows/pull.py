"""``d2n pull``: a registered generator with its card, into a folder."""

from __future__ import annotations

import json
from pathlib import Path

from d2n.errors import RegistryError
from d2n.tracking import registry, runs


def pull(model: str, out: Path, *, tracking_uri: str | None) -> list[str]:
    """Download NAME@ALIAS; the folder must be empty or absent, so that two versions never mix."""
    if out.exists() and any(out.iterdir()):
        raise RegistryError(f"{out} is not empty; name a new folder, so that two versions never mix")
    store = runs.open_store(tracking_uri)
    version = registry.resolve(store, model)
    folder = registry.download(store, version.reference, out)
    card = {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "model_id": version.model_id,
        "tags": dict(version.tags),
        "description": version.description,
    }
    (out / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    return [f"{version.name} version {version.version} in {folder}", *(f"  {name}" for name in files)]
