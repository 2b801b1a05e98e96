"""Photographs in a vector store: filled in parts, gone on with, searched as in memory; a benchmark through it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from d2n.errors import D2NError
from d2n.retrieval.vectors import Recall, Row, VectorStore
from d2n.tracking import runs
from d2n.workflows import evaluate, find, vectors
from d2n.workflows.evaluate.stored import Part, Through
from tests.datasets.miniatures import photo
from tests.tracking.servers import S3

pytest.importorskip("lancedb")
KNOBS = ("network.backbone=squeezenet1_1", "evaluation.scales=[1.0]")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> runs.Store:
    return runs.open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


def request(weights: str, store: runs.Store, folder: Path, url: Path, **asked: object) -> vectors.FillRequest:
    made = vectors.FillRequest(weights, folder, str(url), overrides=KNOBS, tracking_uri=store.uri)
    return dataclasses.replace(made, **asked)  # type: ignore[arg-type] # as given


def test_parts_fill_a_store_that_is_searched_as_memory_is(
    weights: str, store: runs.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = tmp_path / "photos", tmp_path / "vectors"
    for i in range(9):
        photo(folder / f"{i}.png", i)
    shutil.copyfile(folder / "3.png", folder / "copy.png")
    (folder / "torn.png").write_bytes((folder / "1.png").read_bytes()[:60])
    with pytest.raises(D2NError, match=r"torn\.png"):
        vectors.fill(request(weights, store, folder, url))
    parts = [
        vectors.fill(request(weights, store, folder, url, part=Part(n, 2), chunk=2, on_bad_image="skip"))
        for n in (1, 2)
    ]
    assert [sum(getattr(one, key) for one in parts) for key in ("described", "known", "bad")] == [10, 0, 1]
    (folder / "torn.png").unlink()
    photo(folder / "5.png", 50)  # another photograph under the name
    said = vectors.fill_command(request(weights, store, folder, url), progress=False)
    assert said == [f"described 1 photographs into {url}; 9 were known"]
    table = VectorStore(str(url)).table(VectorStore(str(url)).names()[0])
    assert len(table) == 10
    asked = find.Request(folder / "3.png", folder, tmp_path / "m", weights, top=4, overrides=KNOBS)
    monkeypatch.setattr(find, "images_below", lambda folder: pytest.fail("the folder was walked through"))
    through = find.Request(
        folder / "3.png", folder, tmp_path / "v", weights, top=4, overrides=KNOBS, vectors=str(url)
    )
    hits, how = find.found(through, store=store)
    assert how == [f"searched 10 descriptors of {url} exactly"]
    monkeypatch.undo()
    memory = find.find(asked, store=store)
    assert [hit.name for hit in hits] == [hit.name for hit in memory]
    assert hits[0].name == "copy.png"
    assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in memory], abs=1e-5)


def test_an_approximate_answer_tells_its_recall(weights: str, store: runs.Store, tmp_path: Path) -> None:
    folder, url = tmp_path / "photos", tmp_path / "vectors"
    for i in range(3):
        photo(folder / f"{i}.png", i)
    asked = find.Request(
        folder / "0.png", folder, tmp_path / "v", weights, overrides=KNOBS, vectors=str(url), approximate=True
    )
    vectors.fill(request(weights, store, folder, url))
    with pytest.raises(D2NError, match="no index for --approximate"):
        find.find(asked, store=store)
    other = dataclasses.replace(asked, overrides=(*KNOBS, "evaluation.image_size_px=62"), approximate=False)
    with pytest.raises(
        D2NError, match=r"holds no photographs by this network, view and whitening \(tables: ph"
    ):
        find.find(other, store=store)
    kept = VectorStore(str(url))
    table = kept.table(kept.names()[0])
    grown = [Row(f"x{i}", "sha", "") for i in range(300)]
    table.put(grown, table.sample(3)[1][:1].repeat(300, axis=0) * -1)
    table.index()
    kept.keep_recall(Recall(table.name, 303, 100, 10, 0.973, 1, 10))
    lines = find.find_command(asked, tracking_uri=store.uri, progress=False)
    assert lines[-2] == (
        f"searched 303 descriptors of {url} by its index, recall@10 against exact search 97.3 "
        "(100 of its images, when it was made of 303)"
    )
    assert "1.png" in lines[0] or "2.png" in lines[0]


def test_a_benchmark_through_a_store_has_the_map_of_memory(
    weights: str, store: runs.Store, tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    database = [photo(root / "database" / f"{i}.png", i).relative_to(root).as_posix() for i in range(5)]
    shutil.copyfile(root / "database/1.png", root / "database/9.png")  # of one content, two places
    database.append("database/9.png")
    queries = [photo(root / "queries" / "q.png", 11).relative_to(root).as_posix()]
    truth = {"database": database, "queries": queries, "ground_truth": [{"ok": [1, 4], "junk": []}]}
    (root / "ground_truth.json").write_text(json.dumps(truth))
    plain = evaluate.Request(weights, str(root), overrides=KNOBS)
    url = str(tmp_path / "vectors")
    stored = dataclasses.replace(plain, through=Through(url))
    expected, found = (evaluate.evaluate(one, store=store) for one in (plain, stored))
    assert found.measured == pytest.approx(expected.measured)
    assert any(f"depth of 1000 by the vector store {url}" in line for line in evaluate.summary(found))
    assert store.get(found.run_id).params["search"] == "exact"
    with pytest.raises(D2NError, match="no index for --approximate"):
        evaluate.evaluate(dataclasses.replace(plain, through=Through(url, approximate=True)), store=store)


def test_recall_stands_beside_every_measure_of_an_approximate_search() -> None:
    measured = {"map/b": 0.5, "map_low/b": 0.4, "map_high/b": 0.6, "search_recall10/b": 0.95}
    lines = evaluate.summary(evaluate.EvaluateResult("r", "u", measured, "net", Through("v", True)))
    assert "  map b = 50.0 [40.0, 60.0] (approximate search, recall@10 against exact 95.0)" in lines
    assert "  search_recall10 b = 95.0" in lines


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/", "-1/2"])
def test_a_part_is_one_of_so_many(text: str) -> None:
    with pytest.raises(D2NError, match="expected one of so many, as in 3/8"):
        vectors.as_part(text)


def test_parts_have_each_name_once() -> None:
    names = [f"{i}.jpg" for i in range(200)]
    owners = [[number for number in (1, 2, 3) if Part(number, 3).has(name)] for name in names]
    assert all(len(one) == 1 for one in owners)
    assert {one[0] for one in owners} == {1, 2, 3}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_fill_a_store_on_s3(
    weights: str, store: runs.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not S3.is_here():
        pytest.skip("moto[server] and boto3 are not installed: no S3 here")
    server = S3(tmp_path, "team")
    for name, value in {**S3.ENVIRONMENT, "MLFLOW_S3_ENDPOINT_URL": server.address}.items():
        monkeypatch.setenv(name, value)
    server.start()
    try:
        folder, url = tmp_path / "photos", "s3://team/vectors"
        for i in range(30):
            photo(folder / f"{i}.png", i)
        asked = dataclasses.replace(request(weights, store, folder, tmp_path), url=url, workers=2, chunk=4)
        said = vectors.fill_command(asked, progress=False)
        assert said == [f"described 30 photographs into {url}; 0 were known"]
        table = VectorStore(url).table(VectorStore(url).names()[0])
        assert len(table) == 30
        hits = find.find(
            find.Request(folder / "3.png", folder, tmp_path / "f", weights, overrides=KNOBS, vectors=url),
            store=store,
        )
        assert len(hits) == 10
    finally:
        server.stop()
