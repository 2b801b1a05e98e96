"""A generator that was changed in the store is refused by every verb that reads it, and no planted code runs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import d2n
from d2n.errors import D2NError
from d2n.tracking import health, models, names, registry
from d2n.tracking.places import local_path
from d2n.workflows import doctor, export, generators, promote, pull, retrieve, score, translate
from tests.workflows.conftest import Road, tiny_retrieval

MODEL = "d2n-toycity@champion"


class _Planted:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _in_archive(
    folder: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None
) -> None:
    path = folder / models.EXPORTED
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, content in members.items():
            new.writestr(name, change(name, content))
        for name, content in (more or {}).items():
            new.writestr(f"model/{name}", content)


def _pickled(trace: Path) -> bytes:
    made = io.BytesIO()
    torch.save(_Planted(trace), made)
    return made.getvalue()


def changed_weights(folder: Path, trace: Path) -> None:
    _flip(folder / "extra_files/generator.safetensors")


def changed_program(folder: Path, trace: Path) -> None:
    _flip(folder / models.EXPORTED)


def sums_rewritten(folder: Path, trace: Path) -> None:
    _flip(folder / "extra_files/generator.safetensors")
    card = folder / "extra_files/generator.json"
    values = json.loads(card.read_text())
    values["sha256"] = hashlib.sha256((folder / "extra_files/generator.safetensors").read_bytes()).hexdigest()
    card.write_text(json.dumps(values))


def pickled_example(folder: Path, trace: Path) -> None:
    _in_archive(folder, lambda name, old: _pickled(trace) if name.endswith("sample_inputs/model.pt") else old)


def pickled_member(folder: Path, trace: Path) -> None:
    _in_archive(folder, lambda name, old: old, {"data/constants/custom_obj_0": pickle.dumps(_Planted(trace))})


def planted_loader(folder: Path, trace: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code/planted.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n")
    text = (folder / "MLmodel").read_text()
    text = text.replace("loader_module: mlflow.pytorch", "loader_module: planted\n    code: code")
    (folder / "MLmodel").write_text(text.replace("code: null", "code: code"))


def planted_pickle(folder: Path, trace: Path) -> None:
    torch.save(_Planted(trace), folder / "data/model.pth")
    (folder / "data/pickle_module_info.txt").write_text("pickle")


TAMPERINGS = (
    changed_weights, changed_program, sums_rewritten, pickled_example, pickled_member, planted_loader, planted_pickle,
)  # fmt: skip


@contextlib.contextmanager
def tampered(
    road: Road, how: Callable[[Path, Path], None], trace: Path, *, resealed: bool = False
) -> Iterator[None]:
    """The champion's folder changed in the store; whole again afterwards. `resealed`: its tags too."""
    version = registry.resolve(road.store, MODEL)
    folder = local_path(road.store.client.get_logged_model(version.model_id).artifact_location)
    assert folder is not None
    kept = trace.with_name("kept")
    shutil.copytree(folder, kept)
    client, sums = road.store.client, version.tags[names.SEAL]
    try:
        how(folder, trace)
        if resealed:
            from d2n.tracking import seal

            client.set_model_version_tag(
                version.name, version.version, names.SEAL, seal.tag_values(seal.manifest(folder))[names.SEAL]
            )
        yield
    finally:
        client.set_model_version_tag(version.name, version.version, names.SEAL, sums)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)


def verbs(road: Road, tmp_path: Path) -> dict[str, Callable[[], Any]]:
    """Each verb that reads the registered champion, or its run."""
    uri, store = road.store.uri, road.store
    photos = road.folder / "data/toycity"
    run_id = registry.resolve(store, MODEL).run_id
    knobs: Any = {
        "batch_size": 1, "max_pixels": 10**6, "device": "cpu", "on_bad_image": "fail", "tracking_uri": uri,
        "progress": False,
    }  # fmt: skip
    night = ("night.augmentation=generator", f"night.generator=models:/{MODEL}")
    return {
        "pull": lambda: pull.pull(MODEL, tmp_path / "pulled", tracking_uri=uri),
        "translate": lambda: translate.translate_command(MODEL, photos, tmp_path / "nights", **knobs),
        "retrieve": lambda: retrieve.retrieve(tiny_retrieval("tampered", *night), store=store),
        "promote": lambda: promote.promote("toycity", store=store),
        "load_generator": lambda: d2n.load_generator(MODEL, tracking_uri=uri),
        "export": lambda: export.export(MODEL, tmp_path / "x", format="safetensors", tracking_uri=uri),
        "run": lambda: generators.load(run_id, store),
    }


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_changed_champion_is_refused_by_every_verb(
    road: Road, how: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(road.folder)
    trace = tmp_path / "planted code ran"
    before = {run.run_id for run in road.store.find_runs(status="RUNNING")}
    with tampered(road, how, trace):
        for name, verb in verbs(road, tmp_path).items():
            with pytest.raises(D2NError) as caught:
                verb()
            assert "\n" not in str(caught.value), name
        found = [one for one in health.examine(road.store.uri) if one.kind == "seal"]
        assert [one.subject for one in found] == [
            registry.resolve(road.store, MODEL).reference.removeprefix("models:/")
        ]
    assert not trace.exists()
    assert not (tmp_path / "pulled").exists()
    assert not (tmp_path / "x").exists()
    assert {run.run_id for run in road.store.find_runs(status="RUNNING")} == before


@pytest.mark.parametrize("how", [pickled_example, pickled_member, planted_loader, planted_pickle])
def test_planted_code_is_refused_even_where_the_sums_were_rewritten_too(
    road: Road, how: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(road.folder)
    trace = tmp_path / "planted code ran"
    with tampered(road, how, trace, resealed=True):
        for name in ("pull", "translate", "load_generator", "export"):
            with pytest.raises(D2NError, match=r"pickle|code|model\.pth|planted"):
                verbs(road, tmp_path)[name]()
    assert not trace.exists()


def test_the_whole_champion_passes_and_doctor_is_content(road: Road, tmp_path: Path) -> None:
    assert not [one for one in health.examine(road.store.uri) if one.kind == "seal"]
    lines = pull.pull(MODEL, tmp_path / "pulled", tracking_uri=road.store.uri)
    assert "pulled" in lines[0]
    models.require_safe(tmp_path / "pulled")


def test_a_pulled_folder_that_was_changed_is_refused(road: Road, tmp_path: Path) -> None:
    folder = tmp_path / "pulled"
    pull.pull(MODEL, folder, tracking_uri=road.store.uri)
    generators.load(str(folder), None)
    _flip(folder / models.EXPORTED)
    with pytest.raises(D2NError, match="is not what was pulled"):
        generators.load(str(folder), None)


def test_score_refuses_a_changed_generator(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(road.folder)
    run_id = registry.resolve(road.store, MODEL).run_id
    request = score.ScoreRequest(names=("fid",), run_id=run_id, split="val", tracking_uri=road.store.uri)
    with (
        tampered(road, changed_program, tmp_path / "trace"),
        pytest.raises(D2NError, match="not what was registered"),
    ):
        score.score_command(request)


def test_doctor_says_what_to_do(road: Road, tmp_path: Path) -> None:
    with tampered(road, planted_pickle, tmp_path / "trace"):
        lines, is_well = doctor.doctor(mend=False, tracking_uri=road.store.uri, study_storage=None)
    assert not is_well
    assert any("model.pth" in line and line.startswith("seal: d2n-toycity/") for line in lines)
    assert any("do not use it" in line for line in lines)
