"""Scores that ask whether the place is still there, against rankings worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.evaluate import Beside, Settings, evaluate
from d2n.scores.places import Question, average_precisions, by_scene, one_to_one

PROTOCOL = ScoreProtocol("toy", "0", "none", 4, "r")
SCENES = ("a", "a", "b", "b")


def _at(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def _score(name: str, real: np.ndarray, fake: np.ndarray, beside: Beside, seed: int = 0):
    (found,) = evaluate(real, fake, [name], PROTOCOL, beside, Settings(seed=seed)).scores
    return found


def test_average_precision_by_hand() -> None:
    """Right answers at ranks 0 and 2: (1 + 1)/4 + (1/2 + 2/3)/4 = 0.7917."""
    asked = Question(_at(0), 5 * _at(50, 10, 30), [{"ok": [0, 1], "junk": []}])
    assert average_precisions(asked) == pytest.approx([0.5 + (1 / 2 + 2 / 3) / 4])


def test_equal_similarities_go_to_the_earlier_row() -> None:
    asked = Question(_at(0, 0), _at(20, 20), [{"ok": [0], "junk": []}, {"ok": [1], "junk": []}])
    assert average_precisions(asked) == pytest.approx([1, 0.25])


def test_queries_without_an_answer_are_nan_and_said_of_none(caplog: pytest.LogCaptureFixture) -> None:
    """300 queries, the last 290 without an answer: more than are ranked at once."""
    truth = [{"ok": [0] if i < 10 else [], "junk": []} for i in range(300)]
    found = average_precisions(Question(np.tile(_at(0), (300, 1)), _at(10, 50), truth))
    assert found[:10] == pytest.approx(np.ones(10))
    assert np.isnan(found[10:]).all()
    assert np.isnan(average_precisions(Question(_at(0), _at(10), truth[-1:]))).all()
    assert not caplog.records


def test_scenes_tell_the_answers_and_an_image_never_finds_itself() -> None:
    assert by_scene(("a", "", "c"), ("a", "b", "a", "")) == [
        {"ok": [0, 2], "junk": [3]},
        {"ok": [], "junk": [3]},
        {"ok": [], "junk": [3]},
    ]
    assert by_scene(("a", "a"), ("a", "a"), same_images=True) == [
        {"ok": [1], "junk": [0]},
        {"ok": [0], "junk": [1]},
    ]
    assert one_to_one(2) == [{"ok": [0], "junk": []}, {"ok": [1], "junk": []}]


def test_night_to_fake_asks_real_nights_for_their_place_among_the_fakes() -> None:
    real, fake = _at(0, 2, 90, 92), _at(1, 3, 89, 88)
    beside = Beside(scenes=SCENES, night_scenes=SCENES)
    found = _score("place/night_to_fake", real, fake, beside)
    assert (found.name, found.value, found.floor) == ("place/night_to_fake.toy", 1, 1)
    lost = _score("place/night_to_fake", real, fake[::-1].copy(), beside)
    assert lost.value == pytest.approx((0 + 1 / 3 + 1 / 3 + 2 / 4) / 4)  # both at the end: ranks 2 and 3
    assert lost.interval[0] <= lost.value <= lost.interval[1]


def test_without_scenes_pairs_tell_the_place_of_a_night() -> None:
    beside = Beside(paired_features=(_at(0, 40, 90), _at(1, 88, 89)))
    found = _score("place/night_to_fake", _at(0, 1, 2, 3), _at(5, 6, 7, 8), beside)
    assert found.value == pytest.approx((1 + 1 / 4 + 1) / 3)  # the second finds its own second: (0 + 1/2) / 2
    with pytest.raises(ScoreError, match="no scene or pair tells it"):
        _score("place/night_to_fake", _at(0, 1, 2, 3), _at(5, 6, 7, 8), Beside())


def test_fake_to_day_leaves_the_own_day_out_where_the_scene_has_another() -> None:
    day, fake = _at(0, 10, 80, 90), _at(0, 10, 80, 90)
    real = _at(0, 5, 85, 90)
    found = _score(
        "place/fake_to_day", real, fake, Beside(scenes=SCENES, night_scenes=SCENES, day_features=day)
    )
    assert (found.value, found.floor) == (1, 1)
    own = _score("place/fake_to_day", real, fake, Beside(day_features=day[[0, 2, 1, 3]]))
    assert own.value == pytest.approx((1 + 1 / 6 + 1 / 6 + 1) / 4)  # 10 degrees sees its own, at 80, third
    with pytest.raises(ScoreError, match="none were given"):
        _score("place/fake_to_day", real, fake, Beside())


def test_fake_to_fake_needs_two_images_of_a_scene() -> None:
    assert _score("place/fake_to_fake", _at(0, 1, 2, 3), _at(0, 9, 70, 80), Beside(scenes=SCENES)).value == 1
    mixed = _score("place/fake_to_fake", _at(0, 1, 2, 3), _at(0, 90, 1, 91), Beside(scenes=SCENES))
    assert mixed.value < 0.5
    with pytest.raises(ScoreError, match="no two have one scene"):
        _score("place/fake_to_fake", _at(0, 1, 2, 3), _at(0, 9, 70, 80), Beside(scenes=("a", "b", "", "")))


def test_queries_and_ground_truth_enter_the_protocol() -> None:
    def identity(**beside: object) -> str:
        fake = _at(0, 9, 70, 80)
        return _score("place/fake_to_fake", _at(0, 1, 2, 3), fake, Beside(**beside)).protocol.identity  # type: ignore[arg-type]

    ours = identity(scenes=SCENES, queries_digest="q")
    assert ours == identity(scenes=SCENES, queries_digest="q")
    assert (
        len({ours, PROTOCOL.identity, identity(scenes=SCENES, queries_digest="r"), identity(scenes=SCENES)})
        == 4
    )
    assert identity(scenes=SCENES) != identity(scenes=("a", "a", "a", "b"))


def test_scenes_that_are_not_one_an_image_are_refused() -> None:
    with pytest.raises(ScoreError, match="3 scenes for 4 images"):
        _score("place/fake_to_fake", _at(0, 1, 2, 3), _at(0, 9, 70, 80), Beside(scenes=("a", "a", "b")))
