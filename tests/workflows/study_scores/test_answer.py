"""What a table of scores and mAPs says, where it is known what it must say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from d2n.errors import DataError
from d2n.workflows.study_scores import answer as answering
from d2n.workflows.study_scores import table

NIGHT, DAY = "map/toycity/night", "map/toycity/day"


def rows(num_generators: int = 12, num_seeds: int = 3) -> list[table.Row]:
    """FID falls as night mAP rises; place knows nothing; day mAP falls as night mAP rises."""
    rng = np.random.default_rng(3)
    place = rng.permutation(num_generators)
    return [
        table.Row(
            f"g{i}",
            f"generator {i}",
            seed,
            "s",
            {
                "fid.toy": 1 - i / num_generators,
                "place/night_to_fake.toy": float(place[i]),
                "mine": float(i),
                NIGHT: 0.1 + 0.05 * i + 0.02 * (seed - 1),
                DAY: 0.9 - 0.01 * i,
            },
        )
        for seed in range(num_seeds)
        for i in range(num_generators)
    ]


def test_a_score_that_falls_as_map_rises_goes_with_it_and_noise_is_over_seeds() -> None:
    found = answering.answer(rows(), 200)
    assert (found.num_generators, found.num_seeds) == (12, (3, 3))
    assert found.correlations[NIGHT]["fid.toy"].rho == pytest.approx(1)
    assert found.correlations[DAY]["fid.toy"].rho == pytest.approx(-1)
    assert found.correlations[answering.MEAN]["fid.toy"].rho == pytest.approx(1)
    assert "mine" not in found.correlations[NIGHT]  # nobody said which way it is better
    assert found.deviations[NIGHT] == pytest.approx(0.02)
    assert found.paired_deviations[NIGHT] == pytest.approx(0, abs=1e-9)  # a seed does the same to all
    (difference,) = found.differences[NIGHT]
    assert (difference.better, difference.is_settled) == ("fid.toy", True)
    assert found.predictions[NIGHT][0].scores == ("fid.toy",)
    best, worst = found.generators[0], found.generators[-1]
    assert (best.name, worst.name, best.num_seeds) == ("generator 11", "generator 0", 3)
    assert best.maps[NIGHT] == pytest.approx(0.65)
    told = "\n".join(answering.lines(found))
    assert "generator 11, 3 seeds: toycity/night 65.0 ± 1.2, toycity/day 79.0 ± 0.0, mean 72.0 ± 0.6" in told
    assert "12 generators, 3 retrieval seeds each" in told
    assert "champion by fid.toy: generator 11, toycity/night 65.0\n" in told
    (other,) = [i for i, row in enumerate(rows(num_seeds=1)) if row.values["place/night_to_fake.toy"] == 11]
    gap = -5.0 * (11 - other)
    assert (
        f"  by place/night_to_fake.toy: generator {other}, toycity/night {65 + gap:.1f}: {gap:+.1f} ± 0.0 points"
        in told
    )
    assert "recommend (fid.toy mostly) chooses in the other half: " in told
    assert re.search(r"\n  fid.toy before place/night_to_fake.toy: by \+\S+ \[\S+, \S+\] at least\n", told)
    assert "deviation over seeds: 2.0 points; a difference of 5 points needs 2 seeds an arm" in told


def test_a_table_on_its_way_compares_generators_of_unequal_seeds() -> None:
    """The worst generator has the kindest seed alone: it stays the worst."""
    table_so_far = [row for row in rows() if row.seed < 2 or row.name == "generator 0"]
    kind = [
        table.Row(
            row.generator,
            row.name,
            row.seed,
            "s",
            {**row.values, NIGHT: row.values[NIGHT] + 0.4 * (row.seed == 2)},
        )
        for row in table_so_far
    ]
    found = answering.answer(kind, 100)
    assert (found.num_seeds, found.generators[-1].name) == ((2, 3), "generator 0")
    assert found.correlations[NIGHT]["fid.toy"].rho == pytest.approx(1)


def test_what_is_not_defined_is_null_in_json() -> None:
    found = answering.answer(rows(2, 1), 50)
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["correlations"][NIGHT]["fid.toy"]["interval"] is None
    assert values["deviations"][NIGHT] is None
    assert "needs 5 generators" in "\n".join(answering.lines(found))


def test_one_generator_has_no_order() -> None:
    with pytest.raises(DataError, match="1 generators, expected two"):
        answering.answer(rows(1))


def test_a_table_comes_back_as_it_was_and_refuses_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    made = [*rows(3, 1), table.Row("h", "a, name", 0, "s", {NIGHT: 0.5})]  # a score that it has not
    table.write(path, made)
    assert table.read(path, "s") == made
    assert table.read(tmp_path / "none.csv", "s") == []
    with pytest.raises(DataError, match="other settings"):
        table.read(path, "t")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("generator,name,seed\n", "no column 'settings'"),
        ("generator,name,seed,settings,fid\ng,n,one,s,1\n", "row 2 holds"),
        ("generator,name,seed,settings,fid\ng,n,1,s,nan\n", "expected a finite number"),
        ("generator,name,seed,settings,fid\ng,n,1,s\n", "row 2 does not have the 5 values"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        table.read(tmp_path / "t.csv", "s")
    assert "\n" not in str(caught.value)
