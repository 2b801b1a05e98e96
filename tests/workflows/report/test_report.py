"""The report: what is compared, what never is, and what is written."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from d2n.errors import D2NError
from d2n.tracking import names, uses
from d2n.workflows.recording import sample_sheet
from d2n.workflows.report import report
from d2n.workflows.report.comparison import correlations, make_blocks
from d2n.workflows.report.files import lineage
from d2n.workflows.report.rows import baseline_of, difference, read_arms, read_generators, read_studies
from d2n.workflows.report.sheets import encode

if TYPE_CHECKING:
    from conftest import FakeStore

from d2n.core import ScoreProtocol

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)
OTHER = dataclasses.replace(PROTOCOL, resize="tf1@299")


def text_of(path: Path) -> str:
    """The page without plotly.js and without figures' data."""
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_table_sets_the_arm_beside_its_baseline(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0, STUDY="pix2pix_toycity", TRIAL="7", GIT_COMMIT="c0ffee1234567")
    store.add_arm("base", 0.06)
    store.add_arm("aug", 0.22, generator="g1", version="3")
    page = text_of(report(store, tmp_path / "out"))
    assert "22.00 ± 1.00" in page
    # standard error of the difference: hypot(1 / sqrt 4, 1 / sqrt 4)
    assert "<b>+16.00 ± 0.71</b>" in page
    assert "d2n-toycity v3" in page
    assert "pix2pix, toycity (d2n-toycity v3)" in page
    lineage = page[page.index("Where each row comes from") :]
    for part in (
        "aug",
        "d2n-toycity/3",
        "g1",
        '<td class="text">7</td>',
        "pix2pix_toycity",
        "dddddddddddd",
        "c0ffee1234",
    ):
        assert part in lineage


def test_files_beside_the_page_hold_the_same_numbers(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.add_arm("base", 0.06)
    store.add_arm("aug", 0.22, generator="g1")
    report(store, tmp_path)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    night = next(
        row for row in lines if row["retrieval_run"] == "aug" and row["benchmark"] == "toycity/night"
    )
    assert (float(night["map"]), float(night["difference"]), float(night["fid"])) == pytest.approx(
        (22.0, 16.0, 40.0)
    )
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["tables"][0]["arms"][0]["arm"] == "baseline"
    assert values["generators"][0]["scores"]["fid"]["value"] == 40.0
    written = ["figures", "report.csv", "report.html", "report.json"]
    assert sorted(item.name for item in tmp_path.iterdir()) == written
    assert sorted(item.name for item in (tmp_path / "figures").iterdir()) == [
        "map-toycity.png",
        "map-toycity.svg",
    ]


def test_page_needs_no_network_and_is_the_same_again(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.add_arm("base", 0.06)
    first = report(store, tmp_path / "a").read_bytes()
    assert first == report(store, tmp_path / "b").read_bytes()
    assert not re.search(rb"<(script|link|img)[^>]+(src|href)=\"(?!data:)", first)


def test_protocols_never_share_a_table_or_a_correlation(store: FakeStore, tmp_path: Path) -> None:
    for i in range(6):
        store.add_generator(f"a{i}", "pix2pix", 40.0 + i)
        store.add_arm(f"arm-a{i}", 0.3 - 0.01 * i, generator=f"a{i}", version=str(i))
    store.add_generator("b", "cyclegan", 10.0, OTHER)
    store.add_arm("base", 0.06)
    store.add_arm("arm-b", 0.1, generator="b", version="9")
    arms = read_arms(store, read_generators(store))
    blocks = make_blocks(arms)
    assert sorted(len(block.arms) for block in blocks) == [2, 7]  # each with the baseline
    assert {block.group for block in blocks} == {PROTOCOL.identity, OTHER.identity}
    of_six = next(block for block in blocks if len(block.arms) == 7)
    night = next(c for c in correlations(of_six) if (c.score, c.benchmark) == ("fid", "toycity/night"))
    assert night.result.num_points == 6
    assert night.result.rho == pytest.approx(1.0)  # a smaller FID went with a better mAP
    page = text_of(report(store, tmp_path))
    assert "2 tables: " in page
    assert PROTOCOL.identity in page
    assert OTHER.identity in page


def test_settings_that_differ_are_not_compared(store: FakeStore) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.add_arm("base", 0.06)
    store.add_arm("aug", 0.22, generator="g1", **{"training.lr": 1e-5})
    arms = read_arms(store, read_generators(store))
    augmented = next(arm for arm in arms if not arm.is_baseline)
    assert baseline_of(augmented, arms) is None
    assert len(make_blocks(arms)) == 2


def test_newest_run_of_the_same_arm_counts(store: FakeStore) -> None:
    store.add_arm("old", 0.06)
    store.add_arm("new", 0.08)
    arms = read_arms(store, [])
    assert [arm.run_id for arm in arms] == ["new"]


def test_every_generator_that_the_seeds_took_in_turn_is_named(store: FakeStore) -> None:
    store.add_generator("g", "cyclegan", 10.0)
    store.add_arm("a", 0.6, generator="g", version="3")
    second = uses.Use("generator-2", "version", "d2n-toycity", "5")
    record = store.runs[-1]
    tags = {**record.tags, names.uses("generator-2"): json.dumps(dataclasses.asdict(second))}
    store.runs[-1] = dataclasses.replace(record, tags=tags)
    arm = read_arms(store, read_generators(store))[0]
    assert arm.label == "cyclegan, toycity (d2n-toycity v3, v5)"
    assert lineage(arm)["generator"] == "d2n-toycity/3, d2n-toycity/5"


def test_light_query_translation_and_oracle_are_arms_beside_the_same_baseline(store: FakeStore) -> None:
    store.add_arm("baseline", 0.3, **{"network.light": "none"})
    store.add_arm("lit", 0.4, **{"network.light": "clahe", "network.clahe_grid": 8})
    store.add_arm("day", 0.5, **{"evaluation.query_translation": "models:/d2n-toycity.night-day@champion"})
    use = uses.Use("queries", "version", "d2n-toycity.night-day", "2")
    tags = {**store.runs[-1].tags, names.uses("queries"): json.dumps(dataclasses.asdict(use))}
    store.runs[-1] = dataclasses.replace(store.runs[-1], tags=tags)
    store.add_arm("oracle", 0.6, augmentation="oracle")
    arms = {arm.run_id: arm for arm in read_arms(store, [])}
    assert {run: arm.label for run, arm in arms.items()} == {
        "baseline": "baseline",
        "lit": "clahe light",
        "day": "queries by d2n-toycity.night-day v2",
        "oracle": "oracle",
    }
    assert [len(block.arms) for block in make_blocks(list(arms.values()))] == [4]
    assert baseline_of(arms["lit"], list(arms.values())) is arms["baseline"]


def test_difference_without_seeds_has_no_error(store: FakeStore) -> None:
    store.add_arm("base", 0.06)
    store.add_arm("photo", 0.07, augmentation="photometric", std=None)
    arms = {arm.run_id: arm for arm in read_arms(store, [])}
    found = difference(arms["photo"], arms["base"], "toycity/night")
    assert found is not None
    assert found.value == pytest.approx(1.0)
    assert found.standard_error is None
    assert found.is_noise is None
    assert difference(arms["base"], None, "toycity/night") is None


def test_small_difference_is_noise(store: FakeStore, tmp_path: Path) -> None:
    store.add_arm("base", 0.06)
    store.add_arm("photo", 0.07, augmentation="photometric")
    page = text_of(report(store, tmp_path))
    assert "+1.00 ± 0.71" in page
    assert "<b>+1.00" not in page


def test_score_table_brings_interval_and_floor(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    columns = {
        "score": ["fid"],
        "value": [40.0],
        "std": [None],
        "low": [35.0],
        "high": [46.0],
        "real_vs_real": [12.0],
    }
    store.add_table("g1", "tables/test_scores.json", columns)
    assert "40 [35, 46], floor 12" in text_of(report(store, tmp_path))


def test_curves_and_samples_of_the_runs_are_embedded(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.add_table("g1", "tables/test_prd.json", {"precision": [1.0, 0.5], "recall": [0.2, 0.9]})
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 9, 60)).save(buffer, "PNG")
    store.artifacts["g1", names.SAMPLE_SHEET] = buffer.getvalue()
    path = report(store, tmp_path)
    assert "data:image/png;base64," in text_of(path)
    assert '"pix2pix, toycity, g1"' in path.read_text(encoding="utf-8")
    assert "No PRD curve yet" not in text_of(path)


def test_too_few_points_are_said(store: FakeStore, tmp_path: Path) -> None:
    for i in range(2):
        store.add_generator(f"g{i}", "pix2pix", 40.0 + i)
        store.add_arm(f"aug{i}", 0.2, generator=f"g{i}", version=str(i))
    page = text_of(report(store, tmp_path))
    assert "not defined over 2 points" in page  # the same mAP twice has no ranks
    assert "No baseline of these settings" in page


def test_study_is_read_from_its_trials_not_from_their_seeds(store: FakeStore) -> None:
    for number, (status, fid) in enumerate(
        [("FINISHED", 30.0), ("KILLED", 60.0), ("FAILED", None), ("FINISHED", 20.0)]
    ):
        metrics = {"search/lr_log10": -4.0} | ({"score/fid": fid, "score_std/fid": 2.0} if fid else {})
        store.add(
            f"t{number}",
            "trial",
            status=status,
            params={"search/lr": 1e-4},
            metrics=metrics,
            STUDY="s",
            TRIAL=str(number),
        )
    store.add("seed", "translation", metrics={"score/fid": 1.0}, STUDY="s", TRIAL="0")
    (study,) = read_studies(store)
    assert [trial.state for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [trial.values for trial in study.trials] == [(30.0,), (60.0,), (), (20.0,)]
    assert study.trials[0].params == {"lr": 1e-4}
    assert study.trials[0].std == 2.0
    assert study.score == "fid"


def test_studies_of_two_protocols_have_no_best(store: FakeStore, tmp_path: Path) -> None:
    for number, protocol in enumerate((PROTOCOL, OTHER)):
        params = {"search/lr": 1e-4}
        store.add(
            f"t{number}",
            "translation",
            params=params,
            metrics={"score/fid": 20.0},
            STUDY="mixed",
            TRIAL=str(number),
            PROTOCOL=protocol.identity,
        )
    report(store, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["studies"][0]["best"] is None
    assert "mixed: trials of 2 protocols" in text_of(tmp_path / "report.html")


def test_only_the_asked_data_set_but_with_the_generators_it_used(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("far", "cyclegan", 50.0, DATASET="aachen")
    store.add_generator("unused", "cyclegan", 60.0, DATASET="aachen")
    store.add_arm("aug", 0.2, generator="far")
    report(store, tmp_path, "toycity")
    values = json.loads((tmp_path / "report.json").read_text())
    assert [generator["run"] for generator in values["generators"]] == ["far"]


def test_names_from_the_store_cannot_break_the_page(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("<script>alert(1)</script>", "<b>x", 40.0)
    page = text_of(report(store, tmp_path))
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page


def test_empty_store_names_the_command(store: FakeStore, tmp_path: Path) -> None:
    with pytest.raises(D2NError, match=r"no retrieval run of amos; make one with `d2n demo`"):
        report(store, tmp_path / "out", "amos")
    assert not (tmp_path / "out").exists()


def test_scores_of_both_splits_stand_in_one_table(store: FakeStore, tmp_path: Path) -> None:
    tags = {"PROTOCOL": OTHER.identity, "PROTOCOL_TEXT": OTHER.to_json()}
    store.add_generator("both", "pix2pix", 40.0, **tags)
    store.add("val", "translation", metrics={"score/fid": 33.0}, METHOD="cyclegan", **tags)
    page = text_of(report(store, tmp_path))
    table = page[page.index("Scores of the generators") :].partition("</table>")[0]
    assert re.findall(r"<tr><th scope=.row. [^>]*>([^<]*)", table) == ["run-val val", "run-both both"]
    assert "val fid" in table
    assert "test fid" in table
    assert "41" in table
    assert "40" in table
    assert "33" in table


def test_seeds_of_a_network_share_a_figure_and_its_caption(store: FakeStore, tmp_path: Path) -> None:
    for seed in range(3):
        store.add_generator(f"s{seed}", "pix2pix", 40.0 + seed, SEED=str(seed))
        store.add_table(f"s{seed}", "tables/test_prd.json", {"precision": [1.0, 0.5], "recall": [0.2, 0.9]})
    store.add_generator("other", "cyclegan", 50.0)
    store.add_table("other", "tables/test_prd.json", {"precision": [1.0, 0.5], "recall": [0.2, 0.9]})
    page = text_of(report(store, tmp_path))
    assert "(test split), 3 seeds. FID 41 ± 1 over seeds." in page
    assert "(test split), one seed. FID 50." in page
    assert len(list((tmp_path / "figures").glob("prd-*.svg"))) == 2


def test_every_trial_of_a_study_is_in_one_table_with_its_cost(store: FakeStore, tmp_path: Path) -> None:
    shared = {"training.steps_per_epoch": 10, "training.batch_size": 4}
    for number, protocol in enumerate((PROTOCOL, PROTOCOL, PROTOCOL, PROTOCOL, OTHER)[:4]):
        store.add(
            f"t{number}",
            "translation",
            status="KILLED" if number == 1 else "FINISHED",
            params={"search/lr": 10.0**-number, **shared},
            metrics={"score/fid": 20.0 + number, "search/lr_log10": -number, "epoch": 2.0},
            STUDY="s",
            TRIAL=str(number),
            METHOD="pix2pix",
            PROTOCOL=protocol.identity,
            # a trial that was scored on the test split too stays in the study's table
            **({"TEST_PROTOCOL": OTHER.identity} if number == 0 else {}),
        )
    page = text_of(report(store, tmp_path))
    table = page[page.index("Trials of s") :].partition("</table>")[0]
    assert re.findall(r"<th scope=.row. [^>]*>(\d+)", table) == ["0", "1", "2", "3"]
    assert table.count("<td>80</td>") == 4  # 2 epochs of 10 steps of 4 images
    assert '<th scope="col">energy</th>' not in table
    (study,) = json.loads((tmp_path / "report.json").read_text())["studies"]
    assert study["images"] == 320
    made = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    assert {"history-s", "parallel-s"} <= made


def test_energy_is_told_where_the_machine_told_it(store: FakeStore, tmp_path: Path) -> None:
    for number, energy in enumerate((1200.0, 300.0, None)):
        metrics = {"score/fid": 20.0 + number} | ({names.ENERGY_WH: energy} if energy else {})
        store.add(
            f"t{number}",
            "translation",
            params={"search/lr": 0.1},
            metrics=metrics,
            STUDY="s",
            TRIAL=str(number),
        )
    page = text_of(report(store, tmp_path))
    assert page.count("1.5 kWh") == 1  # of the study
    assert page.count("1.2 kWh") == page.count("300 Wh") == 1
    assert "Energy: of the whole GPUs and processors" in page


def test_the_lineage_is_drawn_from_data_to_map(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0, STUDY="<b>study", TRIAL="3")
    store.add_arm("base", 0.1)
    store.add_arm("aug", 0.2, generator="g1")
    page = text_of(report(store, tmp_path))
    svg = page[page.index("From data to mAP") :].partition("</svg>")[0]
    boxes = ("toycity dddddddddddd", "&lt;b&gt;study", "pix2pix, g1", "d2n-toycity v1", "baseline", "trial 3")
    for box in boxes:
        assert box in svg
    assert svg.count("<rect") == 6  # one state of the data, study, run, version, two arms
    assert "<b>study" not in page


def test_nothing_is_said_of_one_point(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0, STUDY="s", TRIAL="0")
    store.add_arm("aug", 0.2, generator="g1", std=None)
    store.add("t", "trial", params={"search/lr": 1}, metrics={"score/fid": 3.0}, STUDY="s", TRIAL="0")
    page = text_of(report(store, tmp_path))
    assert "over 1 point" not in page
    assert "Fewer than 2 arms" in page
    assert "20.00 ±" not in page
    assert not list((tmp_path / "figures").glob("history-*"))


def test_the_same_day_images_stand_over_every_generator(store: FakeStore, tmp_path: Path) -> None:
    day = np.stack([np.full((8, 8, 3), 200 + i, np.uint8) for i in range(2)])
    for number, name in enumerate(("a", "b")):
        store.add_generator(name, "pix2pix", 40.0 + number)
        store.runs[-1].params["dataset.image_size_px"] = "8"
        sheet = sample_sheet(day, np.full_like(day, 10 + number))
        store.artifacts[name, names.SAMPLE_SHEET] = encode(sheet)
    store.artifacts["b", names.REAL_NIGHT_SHEET] = encode(sample_sheet(np.full_like(day, 50)))
    page = text_of(report(store, tmp_path))
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th>((?:<td><img [^>]*></td>)+)', page)
    assert [name for name, _ in rows] == ["day", "pix2pix, toycity, a", "pix2pix, toycity, b", "real night"]
    assert all(cells.count("<img") == 2 for _, cells in rows)
    assert 'alt="pix2pix, toycity, b, image 2"' in page
    assert (tmp_path / "figures" / "translations-toycity.png").read_bytes().startswith(b"\x89PNG")


def test_a_sheet_that_is_no_image_is_left_out_and_named(
    store: FakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.artifacts["g1", names.SAMPLE_SHEET] = b"no image"
    report(store, tmp_path)
    assert "left out: the sample sheet of run g1" in caplog.text


def test_latex_holds_the_tables(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.add_arm("base", 0.06)
    store.add_arm("aug", 0.22, generator="g1", version="3")
    report(store, tmp_path, has_latex=True)
    table = (tmp_path / "tables" / "comparison.tex").read_text()
    assert r"22.00 $\pm$ 1.00 (\textbf{+16.00 $\pm$ 0.71})" in table


def test_the_page_can_be_heard_and_reached_by_key(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("g1", "pix2pix", 40.0)
    store.add_arm("base", 0.06)
    page = text_of(report(store, tmp_path))
    assert '<html lang="en">' in page
    assert page.count("<main") == page.count("<nav") == page.count("<h1") == 1
    assert all("alt=" in image for image in re.findall(r"<img[^>]*>", page))
    anchors = re.findall(r'<li><a href="#([^"]+)"', page)
    assert len(anchors) == 8
    assert all(f'<section id="{anchor}"' in page for anchor in anchors)
    assert page.count("<table") == page.count("<caption")


@pytest.mark.parametrize(
    "edited",
    [
        "mine",
        "[]",
        PROTOCOL.to_json().replace("resize", "size"),
        PROTOCOL.to_json().replace("200", "[200]"),
    ],
)
def test_a_run_with_an_edited_protocol_is_left_out_and_named(
    store: FakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, edited: str
) -> None:
    store.add_generator("good", "cyclegan", 20)
    store.add_generator("edited", "pix2pix", 10, TEST_PROTOCOL_TEXT=edited)
    report(store, tmp_path)  # ends without a trace
    assert [generator.run_id for generator in read_generators(store)] == ["good"]
    assert "left out: run edited: its tag d2n.test.score_protocol.text is unreadable, because" in caplog.text


def test_trials_with_edited_tags_are_left_out_of_their_study(
    store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    def add(run_id: str, **tags: str) -> None:
        given = {
            "STUDY": "s",
            "TRIAL": "0",
            "PROTOCOL": PROTOCOL.identity,
            "PROTOCOL_TEXT": PROTOCOL.to_json(),
            **tags,
        }
        store.add(run_id, "translation", params={"search/lr": 1e-4}, metrics={"score/fid": 3.0}, **given)

    add("good", TRIAL="4")
    add("number", TRIAL="four")
    add("best", BEST_SCORE="[3]")
    add("protocol", PROTOCOL_TEXT="{")
    (study,) = read_studies(store)
    assert [trial.number for trial in study.trials] == [4]
    assert study.protocol == PROTOCOL
    assert all(f"left out: run {name}:" in caplog.text for name in ("number", "best", "protocol"))


def test_prd_stands_on_own_data_and_on_each_other_set_with_its_own_fid(
    store: FakeStore, tmp_path: Path
) -> None:
    other = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "ef" * 32)
    newer = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "99" * 32)
    curve = {"precision": [1.0, 0.5], "recall": [0.2, 0.9]}
    for seed, fid in ((0, 70.0), (1, 80.0), (2, 55.0)):
        store.add_generator(f"s{seed}", "cyclegan", 40.0 + seed, SEED=str(seed))
        store.add_table(f"s{seed}", "tables/test_prd.json", curve)
        store.runs[-1].metrics.update({"on/rsfm/fid": fid, "on/rsfm/prd/f8": 0.5})
        store.runs[-1].tags["d2n.on.rsfm"] = (newer if seed == 2 else other).to_json()
        store.add_table(f"s{seed}", "tables/on_rsfm_prd.json", curve)
    page = report(store, tmp_path).read_text(encoding="utf-8")
    assert "on its own data (test split), 3 seeds. FID 41 ± 1 over seeds." in page
    assert "on Retrieval-SfM 120k, 2 seeds. FID 75 ± 7.1 over seeds." in page
    assert "on Retrieval-SfM 120k, one seed. FID 55." in page  # another protocol: never in one figure
    assert "d2n score RUN_ID --on rsfm" not in page
    assert len(list((tmp_path / "figures").glob("prd-*.svg"))) == 3


def test_a_protocol_of_another_set_that_was_edited_leaves_the_run_out_by_name(
    store: FakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.add_generator("good", "pix2pix", 40.0)
    store.add_generator("bad", "pix2pix", 41.0)
    store.runs[-1].metrics["on/rsfm/fid"] = 3.0
    store.runs[-1].tags["d2n.on.rsfm"] = "{"
    page = report(store, tmp_path).read_text(encoding="utf-8")
    assert "run-good" in page
    assert "run-bad" not in page
    assert "d2n.on.rsfm is unreadable" in caplog.text
