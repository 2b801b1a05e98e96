"""A vector store: rows by name, exact search against plain numpy, what an index finds, what is refused."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest
import vector_writer

from d2n.errors import D2NError
from d2n.retrieval import vectors
from d2n.retrieval.vectors import Hits, Row, VectorStore, VectorTable

pytest.importorskip("lancedb")
DIM = 16


def unit(rows: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def filled(url: Path, rows: int, dim: int = DIM) -> tuple[VectorTable, np.ndarray]:
    table = VectorStore(str(url)).make("t", dim, {"identity": "{}"})
    made = unit(rows, dim=dim)
    table.put([Row(f"{i:04d}", f"sha{i}", "") for i in range(rows)], made)
    return table, made


def test_exact_search_is_that_of_numpy_and_takes_the_store_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BATCH_ROWS", 100)
    table, made = filled(tmp_path / "v", 300)
    queries = unit(5, seed=1)
    found = table.exact(queries, 7)
    scores = queries @ made.T
    for hits, row in zip(found, scores, strict=True):
        expected = np.argsort(-row, kind="stable")[:7]
        assert hits.names == tuple(f"{i:04d}" for i in expected)
        assert hits.similarities == pytest.approx(row[expected], abs=1e-6)
    assert len(table.exact(queries, 1000)[0].names) == 300


def test_a_name_has_one_row_and_a_changed_image_replaces_it(tmp_path: Path) -> None:
    table, made = filled(tmp_path / "v", 3)
    table.put([Row("0001", "sha1", ""), Row("0002", "other", "")], unit(2, seed=9))
    assert len(table) == 3
    assert table.exact(made[1:2], 1)[0].similarities[0] == pytest.approx(
        1, abs=1e-6
    )  # the same image: as it was
    assert table.exact(unit(2, seed=9)[1:], 1)[0].names == ("0002",)
    known = vectors.row_digests(["0001", "0002", "0003"], [""] * 3)
    assert np.isin(known, table.known()).tolist() == [True, True, False]


@pytest.mark.slow  # two processes
def test_writers_of_the_same_rows_at_once_leave_one_of_each(tmp_path: Path) -> None:
    VectorStore(str(tmp_path / "v")).make("t", DIM, {"identity": "{}"})
    spawning = multiprocessing.get_context("spawn")
    barrier = spawning.Barrier(2)
    writers = [
        spawning.Process(target=vector_writer.write, args=(str(tmp_path / "v"), 4, 50, DIM, barrier))
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    table = VectorStore(str(tmp_path / "v")).table("t")
    assert len(table) == 200
    assert len(set(table.exact(unit(1), 500)[0].names)) == 200


def test_an_index_finds_nearly_all_and_its_recall_is_kept(tmp_path: Path) -> None:
    table, made = filled(tmp_path / "v", 2000)
    with pytest.raises(D2NError, match="no index for --approximate; make it with `d2n vectors index"):
        table.approximate(made[:1], 10, 1, 10)
    table.index()
    recall = table.measured_recall(0.9, queries=20)
    assert recall.value >= 0.9
    table.store.keep_recall(recall)
    table.store.keep_recall(vectors.Recall("another", 1, 1, 10, 0.5, 1, 1))
    assert VectorStore(str(tmp_path / "v")).recall("t") == recall
    assert VectorStore(str(tmp_path / "v")).names() == ["t"]
    table.put([Row("new", "sha", "")], unit(1, seed=5))  # after the index: found all the same
    hits = table.approximate(unit(1, seed=5), 3, recall.probes, recall.refine)[0]
    assert hits.names[0] == "new"
    assert hits.similarities[0] == pytest.approx(1, abs=1e-5)


def test_recall_is_the_share_of_the_exact_best() -> None:
    def hits(*names: str) -> Hits:
        return Hits(names, (0.0,) * len(names))

    exact = [hits("a", "b", "c"), hits("d", "e", "f")]
    assert vectors.recall_at([hits("a", "x", "b"), hits("d", "e", "y")], exact, 2) == pytest.approx(0.75)
    assert np.isnan(vectors.recall_at([], [], 10))


def test_one_line_for_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for url, says in (
        ("gs://bucket/x", r"expected a folder or s3://BUCKET/PATH"),
        ("s3://", r"expected a folder or s3://"),
        (str(tmp_path / "file"), "is a file"),
        (str(tmp_path / "gone"), "no such vector store; `d2n vectors fill"),
    ):
        with pytest.raises(D2NError, match=says) as caught:
            vectors.require_store(url, is_there=True)
        assert "\n" not in str(caught.value)
    table, _ = filled(tmp_path / "v", 2)
    for wrong, says in (
        (unit(2, dim=3), "the table has 16 dimensions"),
        (np.full((2, DIM), np.nan, np.float32), "not all finite"),
    ):
        with pytest.raises(D2NError, match=says):
            table.put([Row("a", "a", ""), Row("b", "b", "")], wrong)
    with pytest.raises(D2NError, match=r"an index needs 256"):
        table.index()
    with pytest.raises(D2NError, match="no such table"):
        VectorStore(str(tmp_path / "v")).table("gone")
    with pytest.raises(D2NError, match="holds no descriptors yet"):
        VectorStore(str(tmp_path / "v")).make("empty", DIM, {"identity": "{}"}).exact(unit(1), 1)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(D2NError, match=r"pip install 'd2n\[vectors\]'") as caught:
        VectorStore("anywhere")
    assert "\n" not in str(caught.value)


def test_the_endpoint_is_mlflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert vectors.storage_options("folder") == {}
    found = vectors.storage_options("s3://bucket/x")
    assert found == {"endpoint": "http://127.0.0.1:9000", "allow_http": "true"}
