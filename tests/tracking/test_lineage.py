from __future__ import annotations

import json

import pytest

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import lineage, links, names, registered, registry, uses
from d2n.tracking.runs import Store
from tests.tracking.test_registry import logged_model

NAME = "d2n-toycity"
DIGEST = "ab" * 32


@pytest.fixture
def chain(store: Store) -> dict[str, str]:
    """A study, its trial, a version of it, and a retrieval run that used the version; by name the run ids."""
    data = {names.DATASET: "toycity", names.DATASET_DIGEST: DIGEST, names.GIT_COMMIT: "c" * 40}
    with store.start_run("d2n/toycity", "pix2pix_toycity", tags={names.KIND: "study", **data}) as study:
        pass
    trial_id, model_id = logged_model(store)
    trial = store.append_to(trial_id)
    trial.set_tags({names.KIND: "translation", names.TRIAL: "3", names.PARENT_RUN: study.run_id, **data})
    registry.register(store, model_name=NAME, run_id=trial_id, model_id=model_id, alias="champion")
    tags = {names.KIND: "retrieval", **data}
    with store.start_run("d2n/toycity", "champion_arm", tags=tags) as arm:
        uses.record(store, arm, uses.version_use(store, uses.GENERATOR, f"{NAME}@champion", "e" * 64))
        arm.log_metrics({"map/toycity/night": 0.412})
    return {"study": study.run_id, "trial": trial_id, "arm": arm.run_id}


def test_from_a_number_to_its_data(store: Store, chain: dict[str, str]) -> None:
    graph = lineage.trace(store, chain["arm"])
    steps = [f"run:{chain['arm']}"]
    for role in ("generator", "trained by", "trial of", "data"):
        (edge,) = [one for one in graph.made_from(steps[-1]) if one.role == role]
        steps.append(edge.target)
    assert steps[1:] == [
        f"version:{NAME}/1",
        f"run:{chain['trial']}",
        f"run:{chain['study']}",
        f"data:{DIGEST}",
    ]
    commits = [one.target for one in graph.made_from(f"run:{chain['study']}") if one.role == "commit"]
    assert commits == [f"commit:{'c' * 40}"]
    assert graph.nodes[steps[0]].facts["map/toycity/night"] == "41.2"
    assert [graph.nodes[step].kind for step in steps] == ["retrieval", "version", "trial", "study", "data"]
    values = json.loads(graph.to_json())
    assert values["root"] == steps[0]
    assert {"from": steps[0], "to": steps[1], "role": "generator"} in values["edges"]
    assert graph.left_out == []


@pytest.mark.parametrize("reference", [f"{NAME}@champion", f"{NAME}/1", f"models:/{NAME}/1"])
def test_from_a_version_to_all_that_used_it(store: Store, chain: dict[str, str], reference: str) -> None:
    graph = lineage.trace(store, reference)
    assert [edge.source for edge in graph.used_in(f"version:{NAME}/1")] == [f"run:{chain['arm']}"]


@pytest.mark.parametrize("length", [6, 12, 64])
def test_from_a_state_of_the_data_to_all_that_used_it(
    store: Store, chain: dict[str, str], length: int
) -> None:
    graph = lineage.trace(store, DIGEST[:length])
    assert graph.root == f"data:{DIGEST}"
    assert {edge.source for edge in graph.used_in(graph.root)} == {
        f"run:{run_id}" for run_id in chain.values()
    }
    assert f"version:{NAME}/1" in {edge.source for edge in graph.used_in(f"run:{chain['trial']}")}


def test_what_is_there_is_listed_where_nothing_is_found(store: Store, chain: dict[str, str]) -> None:
    for reference in ("f" * 32, "f" * 64, "nothing", "o'brien", ""):
        with pytest.raises(
            RegistryError, match=rf"models: {NAME}\), a run id.*toycity {DIGEST[:12]}"
        ) as caught:
            lineage.trace(store, reference)
        assert "\n" not in str(caught.value)
    with pytest.raises(RegistryError, match=r"has no alias 'nope' \(it has: champion"):
        lineage.trace(store, f"{NAME}@nope")


def test_an_unreadable_record_and_a_lost_run_are_left_out_and_named(
    store: Store, chain: dict[str, str]
) -> None:
    store.client.set_tag(chain["arm"], names.uses("queries"), "{")
    store.client.set_tag(chain["trial"], names.PARENT_RUN, "0" * 32)
    graph = lineage.trace(store, chain["arm"])
    assert "d2n.uses.queries is unreadable" in graph.left_out[0]
    graph = lineage.trace(store, f"{NAME}/1")
    assert any("no run '00000" in line for line in graph.left_out)
    assert f"run:{'0' * 32}" in graph.nodes


def test_runs_and_folders_are_uses_too(store: Store, chain: dict[str, str]) -> None:
    with store.start_run("d2n/toycity", "arm", tags={names.KIND: "retrieval"}) as run:
        uses.record(store, run, uses.Use(uses.GENERATOR, "folder", "mine", sha256="f" * 64))
        uses.record(store, run, uses.Use(uses.QUERIES, "run", run_id=chain["trial"]))
    up = {edge.role: edge.target for edge in lineage.trace(store, run.run_id).made_from(f"run:{run.run_id}")}
    assert up["generator"] == f"folder:{'f' * 64}"
    assert up["queries"] == f"run:{chain['trial']}"
    used = lineage.trace(store, chain["trial"]).used_in(f"run:{chain['trial']}")
    assert (f"run:{run.run_id}", "used by") in {(edge.source, edge.role) for edge in used}


def test_what_a_run_began_with_is_read_back_and_another_refused(store: Store, chain: dict[str, str]) -> None:
    tags = store.get(chain["arm"]).tags
    use = uses.pinned(chain["arm"], tags, uses.GENERATOR)
    assert use is not None
    assert (use.reference, use.sha256) == (f"{NAME}/1", "e" * 64)
    uses.refuse_other(chain["arm"], use, use)
    other = uses.Use(uses.GENERATOR, "folder", "mine", sha256="0" * 64)
    with pytest.raises(TrackingError, match="began with d2n-toycity version 1 as its generator"):
        uses.refuse_other(chain["arm"], use, other)
    old = {names.GENERATOR_NAME: NAME, names.GENERATOR_VERSION: "1"}  # before uses were tags of their own
    assert uses.read("r", old)[uses.GENERATOR].reference == f"{NAME}/1"


def test_pages_lead_both_ways_and_keep_what_people_wrote(store: Store, chain: dict[str, str]) -> None:
    store.client.set_tag(chain["arm"], names.NOTE, "my words")
    for _ in range(2):
        links.describe_run(store, chain["arm"])
        links.describe_version(store, registered.resolve(store, f"{NAME}/1"))
    note = store.get(chain["arm"]).tags[names.NOTE]
    assert note.startswith(
        f"my words\n\n{links.HEADING}\n- generator: [{NAME} version 1](#/models/{NAME}/versions/1)"
    )
    assert note.count(links.HEADING) == 1
    for run_id in (chain["trial"],):
        assert f"/runs/{run_id}?" in note
    assert DIGEST in note
    description = registered.resolve(store, f"{NAME}/1").description
    for run_id in chain.values():
        assert f"/runs/{run_id}?" in description  # the trial, its study, and the run that used it
    assert f"](#/models/{NAME}/versions/1)" in store.get(chain["trial"]).tags[names.NOTE]


def test_a_long_description_is_cut_to_what_a_database_keeps(store: Store, chain: dict[str, str]) -> None:
    store.client.update_model_version(NAME, "1", "word " * 2000)
    links.describe_version(store, registered.resolve(store, f"{NAME}/1"))
    description = registered.resolve(store, f"{NAME}/1").description
    assert len(description) <= 4910
    assert f"/runs/{chain['arm']}?" in description
