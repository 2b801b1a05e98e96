from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import registry
from d2n.tracking.connection import process_wide, sqlite_path
from d2n.tracking.runs import Store


def logged_model(store: Store, *, complete: bool = True) -> tuple[str, str]:
    """(run id, logged model id) of a model whose files are there, without an export: as the registry sees it."""
    run = store.start_run("d2n/toycity", "one")
    model = store.client.create_logged_model(run.experiment_id, "generator", run.run_id)
    folder = cast(Path, sqlite_path(store.uri)).parent / f"model-{model.model_id}"
    (folder / "data").mkdir(parents=True)
    (folder / "extra_files").mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "extra_files" / "generator.json").write_text("{}")
    if complete:
        (folder / "data" / "model.pt2").write_bytes(b"x")
    store.client.log_model_artifacts(model.model_id, str(folder))
    store.client.finalize_logged_model(model.model_id, "READY")
    run.close()
    return run.run_id, model.model_id


def test_a_registered_model_is_found_by_alias_and_by_version(store: Store) -> None:
    run_id, model_id = logged_model(store)
    made = registry.register(
        store,
        model_name="d2n-toycity",
        run_id=run_id,
        model_id=model_id,
        alias="champion",
        tags={"d2n.method": "pix2pix"},
        description="the best of 4",
    )
    assert (made.name, made.version, made.aliases) == ("d2n-toycity", "1", ("champion",))
    assert (made.run_id, made.model_id) == (run_id, model_id)
    assert made.tags["d2n.method"] == "pix2pix"
    assert made.description == "the best of 4"
    for reference in (
        "d2n-toycity@champion",
        "models:/d2n-toycity@champion",
        "d2n-toycity/1",
        "models:/d2n-toycity/1",
    ):
        assert registry.resolve(store, reference) == made
    assert registry.list_models(store) == ["d2n-toycity"]
    assert registry.list_models(store, prefix="d2n-retrieval-") == []
    assert registry.list_versions(store, "d2n-toycity") == [made]


def test_the_same_logged_model_again_is_the_same_version(store: Store) -> None:
    run_id, model_id = logged_model(store)
    first = registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id)
    again = registry.register(
        store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, tags={"a": 1}
    )
    assert (first.version, again.version) == ("1", "1")
    assert again.tags["a"] == "1"


def test_an_alias_moves_and_its_history_stays(store: Store) -> None:
    for number in (1, 2):
        run_id, model_id = logged_model(store)
        registry.register(
            store,
            model_name="d2n-toycity",
            run_id=run_id,
            model_id=model_id,
            alias="champion",
            reason=f"FID {number}",
        )
    registry.set_alias(store, "d2n-toycity", "champion", "1", reason="back")
    registry.set_alias(store, "d2n-toycity", "champion", "1", reason="not a move")
    registry.set_alias(store, "d2n-toycity", "candidate", "2")
    moves = registry.alias_history(store, "d2n-toycity", "champion")
    assert [(m.version, m.former, m.reason) for m in moves] == [
        ("1", None, "FID 1"),
        ("2", "1", "FID 2"),
        ("1", "2", "back"),
    ]
    assert len(registry.alias_history(store, "d2n-toycity")) == 4
    assert registry.list_aliases(store, "d2n-toycity") == {"champion": "1", "candidate": "2"}
    assert [v.aliases for v in registry.list_versions(store, "d2n-toycity")] == [
        ("candidate",),
        ("champion",),
    ]


def test_an_alias_does_not_move_to_a_version_that_does_not_load(store: Store) -> None:
    good = logged_model(store)
    bad = logged_model(store, complete=False)
    registry.register(store, model_name="d2n-toycity", run_id=good[0], model_id=good[1], alias="champion")
    with pytest.raises(RegistryError, match=r"version 2 does not load: data/model\.pt2 missing"):
        registry.register(store, model_name="d2n-toycity", run_id=bad[0], model_id=bad[1], alias="champion")
    assert registry.resolve(store, "d2n-toycity@champion").version == "1"


class WithLogIn:
    """MLflow's client of a server with log-in: what is asked about a version of an absent model is refused."""

    def __init__(self, client: Any, refused: tuple[str, ...]) -> None:
        self._client, self._refused = client, refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        if name in self._refused:
            said = "API request to endpoint failed with error code 403 != 200. Response body: 'Permission denied'"
            raise MlflowException(said, error_code=PERMISSION_DENIED)
        return self._client.get_model_version_by_alias(name, alias)


def test_an_absent_model_is_absent_on_a_server_with_log_in_too(store: Store) -> None:
    store.client.create_registered_model("d2n-secret")
    store.client = WithLogIn(store.client, ("d2n-town", "d2n-secret"))  # type: ignore[assignment] # stands in
    with pytest.raises(RegistryError, match="no registered model 'd2n-town'"):
        registry.resolve(store, "d2n-town@champion")
    with pytest.raises(TrackingError, match="permission EDIT"):  # one that is there, and not for this member
        registry.resolve(store, "d2n-secret@champion")


def test_a_download_is_complete_or_absent(store: Store, tmp_path: Path) -> None:
    run_id, model_id = logged_model(store)
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, alias="champion")
    got = registry.download(store, "d2n-toycity@champion", tmp_path / "deep" / "model")
    files = sorted(p.relative_to(got).as_posix() for p in got.rglob("*") if p.is_file())
    assert files == ["MLmodel", "data/model.pt2", "extra_files/generator.json"]
    with pytest.raises(RegistryError, match="is there already"):
        registry.download(store, "d2n-toycity@champion", got)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (
            "d2n-nope@champion",
            "no registered model 'd2n-nope' .*registered there: d2n-toycity.*`d2n promote nope`",
        ),
        ("d2n-retrieval-toycity@baseline", "`d2n retrieve"),
        ("d2n-toycity@nope", r"has no alias 'nope' \(it has: champion \(version 1\)\)"),
        ("d2n-toycity/7", r"has no version 7 \(it has: 1\)"),
        ("d2n-toycity", "expected NAME@ALIAS or NAME/VERSION"),
        ("models:/d2n-toycity/x", "expected NAME@ALIAS or NAME/VERSION"),
        ("@champion", "expected NAME@ALIAS or NAME/VERSION"),
    ],
)
def test_an_absent_model_is_one_line_with_what_is_there(store: Store, reference: str, words: str) -> None:
    run_id, model_id = logged_model(store)
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, alias="champion")
    with pytest.raises(RegistryError, match=words) as caught:
        registry.resolve(store, reference)
    assert "\n" not in str(caught.value)


def test_an_empty_registry_names_the_command_that_fills_it(store: Store) -> None:
    with pytest.raises(RegistryError, match=r"nothing is registered there.*`d2n promote toycity`"):
        registry.resolve(store, "d2n-toycity@champion")


def test_names_that_a_reference_cannot_hold_are_refused(store: Store) -> None:
    run_id, model_id = logged_model(store)
    with pytest.raises(TrackingError, match="model name"):
        registry.register(store, model_name="a/b", run_id=run_id, model_id=model_id)
    registry.register(store, model_name="ok", run_id=run_id, model_id=model_id)
    with pytest.raises(TrackingError, match="alias 'v3'"):
        registry.set_alias(store, "ok", "v3", "1")


def test_a_run_and_the_generator_it_uses_name_each_other(store: Store) -> None:
    run_id, model_id = logged_model(store)
    made = registry.register(
        store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, alias="champion"
    )
    with store.start_run("d2n/toycity", "retrieval") as run:
        run.log_generator(made.name, made.version, made.model_id)
    assert registry.resolve(store, "d2n-toycity@champion").used_by == (run.run_id,)
    tags = store.get(run.run_id).tags
    assert (tags["d2n.generator.name"], tags["d2n.generator.version"]) == ("d2n-toycity", "1")
    inputs = store.client.get_run(run.run_id).inputs.model_inputs
    assert [one.model_id for one in inputs] == [model_id]
    found = store.find_runs(tags={"d2n.generator.model_id": model_id})
    assert [one.run_id for one in found] == [run.run_id]


def test_registering_leaves_the_processs_own_store_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/else.db")
    run_id, model_id = logged_model(store)
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id)
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:////nowhere/else.db"
    assert mlflow.get_tracking_uri() == "sqlite:////nowhere/else.db"


@pytest.mark.parametrize("name", ["o'brien", 'a"b', "both ' and \"", "my model", "ends in \\", "100%"])
def test_a_model_that_others_registered_under_any_name_is_read(store: Store, name: str) -> None:
    run_id, model_id = logged_model(store)
    store.client.create_registered_model(name)
    store.client.create_registered_model(f"{name}x")
    with process_wide(store.uri):
        store.client.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id)
    store.client.set_registered_model_alias(name, "champion", "1")
    assert [version.version for version in registry.list_versions(store, name)] == ["1"]
    assert registry.resolve(store, f"{name}@champion").model_id == model_id
    assert registry.resolve(store, f"models:/{name}/1").aliases == ("champion",)
    assert registry.list_versions(store, f"{name}x") == []


@pytest.mark.parametrize("name", ["o'brien", "me@home", "my model", "a\nb", "x" * 300, "", "a/b"])
def test_nothing_is_registered_under_a_name_that_cannot_be_said(store: Store, name: str) -> None:
    with pytest.raises(TrackingError, match="model name") as caught:
        registry.register(store, model_name=name, run_id="r", model_id="m")
    assert "\n" not in str(caught.value)
    assert registry.list_models(store) == []


@pytest.mark.parametrize(
    "reference",
    [
        "me@home@champion",
        "a@b'c",
        "a@",
        "@a",
        "a/b/1",
        "a@b\nc",
        "a/x",
        "a/²",
        "x" * 300 + "@a",
        f"a/{'9' * 5000}",
        "",
    ],
)
def test_a_reference_that_names_no_model_is_one_short_line(store: Store, reference: str) -> None:
    with pytest.raises(RegistryError, match="expected NAME@ALIAS or NAME/VERSION") as caught:
        registry.resolve(store, reference)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
