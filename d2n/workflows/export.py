"""``d2n export``: a generator as ONNX, TorchScript, safetensors, a hub's folder or the public implementation's file."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from d2n.datasets import SETS
from d2n.errors import RegistryError
from d2n.files.writing import aside, folder_aside, require_new, require_writable, write_bytes, write_text
from d2n.tracking import runs
from d2n.translators import checkpoint, exchange, import_weights
from d2n.workflows import card, generators

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

NUM_SIZES = 20  # that an export is compared at
TOLERANCE = 1e-4


def export(model: str, out: Path, *, format: str, tracking_uri: str | None) -> list[str]:  # noqa: A002 - the option
    """Write MODEL in `format` to OUT, compared with the generator at 20 sizes; lines on what came out.

    ``onnx`` and ``torchscript`` are files that take float32 in [0, 1], (N, 3, H, W), any N, sides from 16 pixels;
    ``safetensors`` (weights and config) and ``hub`` (with a model card) are folders; ``reference`` is a state dict
    that the public implementation of pix2pix and CycleGAN loads as latest_net_G.pth. Raises RegistryError where a
    package is missing or the comparison fails; then nothing has the name OUT.
    """
    if format not in FORMATS:
        raise RegistryError(f"no format {format}: expected one of {', '.join(FORMATS)}")
    require_place(out, format)
    exchange.require_packages(format)
    store = None if Path(model).exists() else runs.open_store(tracking_uri)
    return FORMATS[format](generators.load(model, store), out, store)


def require_place(out: Path, format: str) -> None:  # noqa: A002 - the option
    """OSError or RegistryError where OUT cannot be written; to be asked before the download."""
    if format in ("safetensors", "hub"):
        require_new(out)
    elif out.is_dir():
        raise RegistryError(
            f"{out} is a folder: {format} is one file, name it, such as {out / f'generator.{format}'}"
        )
    else:
        require_writable(out.absolute().parent)


def _onnx(generator: generators.Generator, out: Path, store: Store | None) -> list[str]:
    with aside(out, durable=True) as part:
        exchange.write_onnx(generator.module, generator.stride, part)
        worst = _compared(generator, exchange.run_onnx(part))
    return [f"wrote {out}: ONNX, opset {exchange.OPSET}", _told(worst, "onnxruntime")]


def _torchscript(generator: generators.Generator, out: Path, store: Store | None) -> list[str]:
    with aside(out, durable=True) as part:
        exchange.write_torchscript(generator.module, generator.stride, part)
        worst = _compared(generator, exchange.run_torchscript(part))
    return [f"wrote {out}: TorchScript, torch.jit.load takes it", _told(worst, "TorchScript")]


def _safetensors(generator: generators.Generator, out: Path, store: Store | None) -> list[str]:
    with folder_aside(out, durable=True) as part:
        _save_weights(generator, part)
    return [f"wrote {out}: generator.safetensors and generator.json; use it: d2n translate {out} IN OUT"]


def _hub(generator: generators.Generator, out: Path, store: Store | None) -> list[str]:
    with folder_aside(out, durable=True) as part:
        _save_weights(generator, part)
        shutil.copyfile(part / "generator.safetensors", part / "model.safetensors")
        (part / "generator.safetensors").unlink()
        described = json.loads((part / "generator.json").read_text(encoding="utf-8"))
        (part / "generator.json").unlink()
        config = {
            "library_name": "d2n",
            "stride": generator.stride,
            "input_range": [0, 1],
            **described["config"],
        }
        write_text(part / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
        write_text(part / "README.md", _model_card(generator, store))
    return [
        f"wrote {out}: model.safetensors, config.json and a model card; docs/generators.md has a hubconf.py"
    ]


def _reference(generator: generators.Generator, out: Path, store: Store | None) -> list[str]:
    weights = import_weights.export_reference(generator.module)
    written = io.BytesIO()
    torch.save(weights, written)  # into a file it would not say that the disk is full
    write_bytes(out, written.getvalue(), durable=True)
    return [f"wrote {out}: a state dict of the public implementation; it takes and gives [-1, 1]"]


FORMATS: Mapping[str, Callable[[generators.Generator, Path, Store | None], list[str]]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "safetensors": _safetensors,
    "hub": _hub,
    "reference": _reference,
}


def _save_weights(generator: generators.Generator, folder: Path) -> None:
    config = checkpoint.config_from_dict(generator.config, generator.origin)
    checkpoint.save_generator(folder, generator.module, config)


def _model_card(generator: generators.Generator, store: Store | None) -> str:
    """The card below the header that hubs read: licence, tags, data set."""
    version = generator.version
    dataset = version.dataset if version else ""
    kind = SETS.get(dataset)
    is_free = kind is not None and kind.make is not None  # rendered by d2n itself
    header = [
        "---",
        *(
            ("license: apache-2.0",)
            if is_free
            else ("license: other", "license_name: terms-of-the-photographs")
        ),
        "library_name: d2n",
        "pipeline_tag: image-to-image",
        "tags: [image-to-image, day-to-night, pytorch]",
        *((f"datasets: [{dataset}]",) if dataset else ()),
        "---",
        "",
    ]
    if version is not None and store is not None:
        body = version.description if card.is_card(version.description) else card.card(store, version)
    else:
        body = f"# {generator.origin}\n\nA generator that turns photographs by day into the same by night (d2n).\n"
    return "\n".join(header) + body


def _compared(generator: generators.Generator, exported: Callable[[np.ndarray], np.ndarray]) -> float:
    """The largest difference at 20 sizes, batches of 1 and 3; RegistryError beyond 1e-4."""
    rng = np.random.default_rng(0)
    sizes = [(16, 16), *((int(h), int(w)) for h, w in rng.integers(16, 200, (NUM_SIZES - 1, 2)))]
    worst = 0.0
    for number, (height, width) in enumerate(sizes):
        images = rng.random((1 + 2 * (number % 2), 3, height, width), dtype=np.float32)
        with torch.no_grad():
            expected = (generator.translate_array(images * 2 - 1) + 1) / 2
        found = exported(images)
        if found.shape != expected.shape:
            raise RegistryError(f"the export gives {found.shape} for {images.shape}: nothing was written")
        worst = max(worst, float(np.abs(found - expected).max()))
    if not worst <= TOLERANCE:
        raise RegistryError(
            f"the export differs from the generator by {worst:.2g}, expected at most {TOLERANCE:g}: nothing was written"
        )
    return worst


def _told(worst: float, runtime: str) -> str:
    return f"compared with the generator on {runtime} at {NUM_SIZES} sizes: at most {worst:.1e} apart"
