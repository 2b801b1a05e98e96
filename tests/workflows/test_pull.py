"""What pull writes: whole, with card and samples, and a module that needs mlflow and torch alone."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import d2n
from d2n.datasets.images import load_rgb
from d2n.errors import RegistryError, TrackingError
from d2n.tracking import models, registry, seal
from d2n.tracking.places import local_path
from d2n.workflows import card, pull
from tests.workflows.conftest import Road

MODEL = "d2n-toycity@champion"
_ELSEWHERE = """
import sys
for name in ("d2n", "optuna", "pydantic_settings"):
    sys.modules[name] = None  # importing it fails
import mlflow.pytorch, numpy, torch
from PIL import Image
model = mlflow.pytorch.load_model(sys.argv[1])
photo = torch.from_numpy(numpy.array(Image.open(sys.argv[2]).convert("RGB"))).permute(2, 0, 1)[None]
night = model(photo)
assert night.shape == photo.shape and night.dtype == torch.float32, (night.shape, night.dtype)
assert float(night.min()) >= 0 and float(night.max()) <= 1
assert (model(photo / 255) - night).abs().max() < 1e-5
import mlflow.pyfunc
plain = mlflow.pyfunc.load_model(sys.argv[1]).predict((photo / 255).numpy())
assert numpy.abs(plain - night.detach().numpy()).max() < 1e-5
wrong = {"nan": photo * float("nan"), "255": photo.float(), "dtype": photo.double(), "small": photo[:, :, :9]}
said = {}
for name, images in wrong.items():
    try:
        model(images)
    except RuntimeError as error:
        said[name] = str(error)
numpy.savez(sys.argv[3], night=night.detach().numpy(), **said)
"""


@pytest.fixture(scope="module")
def pulled(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pull") / "champion"
    pull.pull(MODEL, folder, tracking_uri=road.store.uri)
    return folder


def test_the_folder_holds_model_card_and_samples(road: Road, pulled: Path) -> None:
    files = set(seal.list_files(pulled))
    assert {"MLmodel", models.EXPORTED, "README.md", "card.json", "samples/sheet.png"} <= files
    assert not [path for path in pulled.parent.iterdir() if path != pulled]  # nothing half-made beside it
    values = json.loads((pulled / "card.json").read_text())
    assert values["input_range"] == "0..1"
    assert {name: seal.manifest(pulled)[name] for name in values["sha256"]} == values["sha256"]
    models.require_safe(pulled)
    text = (pulled / "README.md").read_text()
    assert card.is_card(text)
    assert "(samples/sheet.png)" in text


def test_the_card_says_what_people_ask(road: Road, pulled: Path) -> None:
    version = registry.resolve(road.store, MODEL)
    assert version.description == (pulled / "README.md").read_text()[: len(version.description)]
    text = version.description
    assert len(text) <= 5000
    for words in (
        "toy city", version.tags["d2n.dataset.digest"], "train/day", "protocol `", "float32 in [0, 1] or uint8",
        "mlflow.pytorch.load_model", "## Alarms", "## Limits", "Apache-2.0", road.promotion.decision.reasons[0][:60],
    ):  # fmt: skip
        assert words in text
    assert "(95 % interval" in text


def test_the_exported_file_names_no_place_of_this_machine(road: Road, pulled: Path) -> None:
    for name in (models.EXPORTED, "MLmodel"):
        content = (pulled / name).read_bytes()
        for place in (str(Path.home()), str(road.folder), sys.prefix, str(Path(d2n.__file__).parent)):
            assert place.encode() not in content, (name, place)
        assert not re.search(rb"\.py\b", content), name


def test_a_broken_off_pull_goes_on_where_it_was(road: Road, pulled: Path, tmp_path: Path) -> None:
    version = registry.resolve(road.store, MODEL)
    stored = local_path(road.store.client.get_logged_model(version.model_id).artifact_location)
    assert stored is not None
    half, out = tmp_path / "out.part" / "model", tmp_path / "out"
    (half / "extra_files").mkdir(parents=True)
    shutil.copyfile(pulled / "extra_files/generator.safetensors", half / "extra_files/generator.safetensors")
    (half / "MLmodel").write_text("half of it")
    (half / "README.md").write_text("of the pull that broke off")
    weights = stored / "extra_files/generator.safetensors"
    away = weights.rename(tmp_path / "away")
    try:  # the weights are there already: they are not asked for again
        pull.pull(MODEL, out, tracking_uri=road.store.uri)
    finally:
        away.rename(weights)
    assert seal.manifest(out) == seal.manifest(pulled)
    assert not (tmp_path / "out.part").exists()


@pytest.mark.parametrize(
    ("number", "is_kept"), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True)]
)
def test_a_full_disk_keeps_no_part(tmp_path: Path, number: int, is_kept: bool) -> None:
    error = TrackingError("the download stopped")
    error.__cause__ = OSError(number, os.strerror(number))
    with contextlib.suppress(TrackingError), pull._part(tmp_path / "out") as half:
        (half / "model.pt2").write_bytes(b"some of it")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == (["out.part"] if is_kept else [])


def test_a_folder_of_someone_else_is_not_taken_for_a_part(road: Road, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "thesis.tex").write_text("mine")
    with pytest.raises(RegistryError, match="no part of a download"):
        pull.pull(MODEL, tmp_path / "out", tracking_uri=road.store.uri)
    assert (tmp_path / "out.part" / "thesis.tex").read_text() == "mine"


def test_a_photograph_where_d2n_is_not_installed(road: Road, pulled: Path, tmp_path: Path) -> None:
    _translate_elsewhere(road, pulled, _photograph(road, tmp_path), tmp_path)


@pytest.mark.shared_data
@pytest.mark.slow
def test_a_real_photograph_at_its_own_size_where_d2n_is_not_installed(
    road: Road, pulled: Path, tmp_path: Path, shared_data: Path
) -> None:
    photo = sorted((shared_data / "amos_daynight/images/day").glob("*.jpg"))[0]
    _translate_elsewhere(road, pulled, photo, tmp_path)


def _photograph(road: Road, tmp_path: Path) -> Path:
    found = sorted((road.folder / "data/toycity").rglob("*.jpg")) or sorted(
        (road.folder / "data/toycity").rglob("*.png")
    )
    path = tmp_path / "day.png"
    Image.fromarray(load_rgb(found[0])).resize((93, 71)).save(path)
    return path


def _translate_elsewhere(road: Road, pulled: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "night.npz"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    command = [sys.executable, "-c", _ELSEWHERE, pulled, photo, out]
    subprocess.run(command, env=environment, check=True, timeout=200, cwd=tmp_path)
    with np.load(out) as made:
        assert "not finite" in str(made["nan"])
        assert "divide those of [0, 255] by 255" in str(made["255"])
        assert "neither float32" in str(made["dtype"])
        assert "16 pixels" in str(made["small"])
        night = made["night"]
    import torch

    image = torch.from_numpy(load_rgb(photo).copy()).permute(2, 0, 1)[None]
    expected = d2n.load_generator(MODEL, tracking_uri=road.store.uri)(image).numpy()
    np.testing.assert_allclose(night, expected, atol=1e-5)
