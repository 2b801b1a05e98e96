"""The generator of the other direction, which a method with a way back trains beside: logged and registered too.

It has no scores of its own and never becomes a champion: its alias is ``way-back``. A night query becomes day by
``d2n-<set>.night-day@way-back``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from d2n.errors import D2NError
from d2n.files.scratch import scratch
from d2n.tracking import names, registry
from d2n.translators import checkpoint, export
from d2n.translators.norms import InferenceNorm
from d2n.translators.translate import translate_batch
from d2n.workflows import card, generators

if TYPE_CHECKING:
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)


def register_way_back(store: Store, dataset: str, version: RegisteredVersion) -> RegisteredVersion | None:
    """The way back of a registered generator under ``d2n-<set>.<target>-<source>@way-back``; None where it has none.

    Where it cannot be registered a warning says why: the promotion stands without it.
    """
    try:
        return _registered(store, dataset, version)
    except D2NError as error:
        logger.warning(
            "the way back of %s version %s is not registered: %s", version.name, version.version, error
        )
        return None


def _registered(store: Store, dataset: str, version: RegisteredVersion) -> RegisteredVersion | None:
    source, target = version.domains
    name = names.generator_model(dataset, target, source)
    model_id = _logged(store, version.run_id)
    if not model_id:
        return None
    registry.refuse_other_origin(store, name, dataset, target, source)
    made = registry.register(
        store,
        model_name=name,
        run_id=version.run_id,
        model_id=model_id,
        tags={
            **{key: version.tags[key] for key in _KEPT if key in version.tags},
            names.SOURCE: target,
            names.TARGET: source,
            names.WAY_BACK_OF: f"{version.name}/{version.version}",
        },
        description=f"the way back of {version.name} version {version.version}, without scores of its own",
    )
    registry.set_alias(
        store,
        name,
        names.WAY_BACK,
        made.version,
        reason=f"the way back of {version.name} version {version.version}",
        by="promote",
    )
    registry.describe(store, made, card.card(store, made))
    return registry.resolve(store, made.reference)


_KEPT = (names.DATASET, names.DATASET_DIGEST, names.METHOD, names.SEED)


def _logged(store: Store, run_id: str) -> str:
    """The logged model of a run's way back, made of the files that it left; '' where its method has none."""
    record = store.get(run_id)
    if model_id := record.tags.get(names.WAY_BACK_MODEL_ID, ""):
        return model_id
    if record.tags.get(names.WAY_BACK_FILES) != "true":
        return ""
    with scratch("way-back") as above:
        folder = store.artifact(run_id, names.WAY_BACK_FOLDER, above)
        generator, config = checkpoint.load_generator(folder)
        made = _log(store, run_id, folder, generator, str(config.get("inference_norm", "running")))
        stride = cast(int, generator.stride)
        registry.check_model(
            store, made, lambda images: translate_batch(generator, torch.from_numpy(images), stride).numpy()
        )
    store.append_to(run_id).set_tags({names.WAY_BACK_MODEL_ID: made})
    return made


def _log(store: Store, run_id: str, folder: Path, generator: torch.nn.Module, inference_norm: str) -> str:
    stride = cast(int, generator.stride)
    norm: InferenceNorm = "batch" if inference_norm == "batch" else "running"
    return store.append_to(run_id).log_model(
        export.photographs(generator, stride, norm),
        name=names.WAY_BACK_GENERATOR,
        step=0,
        example=generators.example(stride),
        extra_files=sorted(folder.iterdir()),
        metadata={"stride": stride, "input_range": names.UNIT_RANGE},
    )
