"""The whole road once, as small as it goes: the tests of the workflows look at what it left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from d2n.config import PromotionConfig, RetrievalExperiment, TranslationExperiment, build_experiment
from d2n.datasets import toycity
from d2n.tracking import runs
from d2n.workflows import promote, retrieve, train

TINY_RETRIEVAL = {
    "kind": "retrieval",
    "dataset": {"name": "toycity"},
    "network": {"backbone": "toy"},
    "pretraining": {"n_epochs": 1, "batch_size": 16},
    "training": {
        "n_epochs": 2,
        "num_queries": 10,
        "pool_size": 40,
        "image_size_px": 64,
        "lr": 1e-3,
        "lr_schedule": "cosine",
    },
    "evaluation": {"benchmarks": ["toycity"], "image_size_px": 64, "scales": [1.0]},
}
AS_THEY_ARE = PromotionConfig(retrain=False, refuse_alarms=())  # no further seeds; hardly trained nets
TINY_TRANSLATION = {
    "preset": "toy",
    "dataset": {"name": "toycity", "image_size_px": 32},
    "translator": {
        "generator_channels": 4,
        "discriminator_channels": 4,
        "generator_blocks": 1,
        "unet_depth": 3,
    },
    "training": {
        "n_epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 2,
        "log_every_steps": 2,
        "precision": "fp32",
    },
    "evaluation": {
        "every_epochs": 1,
        "extractor": "retrieval:d2n-retrieval-toycity@baseline",
        "num_images": 8,
        "num_bootstrap": 3,
        "num_clusters": 3,
        "num_samples": 3,
    },
}


def tiny_translation(method: str, *overrides: str, seed: int = 0) -> TranslationExperiment:
    values = {
        **TINY_TRANSLATION,
        "name": f"{method}-tiny",
        "seed": seed,
        "translator": {**TINY_TRANSLATION["translator"], "method": method},  # type: ignore[dict-item] # nested values
    }
    experiment = build_experiment(values, overrides)
    assert isinstance(experiment, TranslationExperiment)
    return experiment


def tiny_retrieval(name: str, *overrides: str) -> RetrievalExperiment:
    experiment = build_experiment({**TINY_RETRIEVAL, "name": name}, overrides)
    assert isinstance(experiment, RetrievalExperiment)
    return experiment


@dataclass(frozen=True)
class Road:
    """What the road left."""

    folder: Path
    store: runs.Store
    baseline: retrieve.RetrieveResult
    pix2pix: train.TrainResult
    cyclegan: train.TrainResult
    promotion: promote.Promotion
    champion: retrieve.RetrieveResult


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("road")
    with contextlib.chdir(folder):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
        store = runs.open_store()
        baseline = retrieve.retrieve(
            tiny_retrieval("baseline", "register_as=d2n-retrieval-toycity", "num_seeds=2"), store=store
        )
        pix2pix = train.train(
            tiny_translation("pix2pix", "evaluation.scores=[fid, kid, prd, ssim]"), store=store
        )
        cyclegan = train.train(tiny_translation("cyclegan"), store=store)
        promotion = promote.promote("toycity", store=store, rule=AS_THEY_ARE)
        champion = retrieve.retrieve(
            tiny_retrieval(
                "champion", "night.augmentation=generator", "night.generator=models:/d2n-toycity@champion"
            ),
            store=store,
        )
        yield Road(folder, store, baseline, pix2pix, cyclegan, promotion, champion)


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a window; skipped where there is none."""
    import shutil

    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium here (Debian's packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield made
    finally:
        made.quit()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of torchvision's small SqueezeNet, random: a published network as d2n takes one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return str(path)
