"""The cache on disk: bound, damage, several processes at once."""

import os
import subprocess
import sys

import numpy as np

from d2n.scores.feature_cache import FeatureCache

IDENTITY = {"extractor": "x", "weights_sha256": "w", "resize": "clean@8"}


def features(seed, rows=4, dim=1000):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def names(seed, rows=4):
    return [f"{seed}-{i}" for i in range(rows)]


def test_what_was_put_comes_back_for_the_same_extractor_alone(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(IDENTITY, names(0), features(0))
    np.testing.assert_array_equal(cache.get(IDENTITY, names(0)), features(0))
    assert cache.get({**IDENTITY, "resize": "tf1@8"}, names(0)) is None
    assert cache.get(IDENTITY, names(0, 3)) is None


def test_an_image_that_stands_twice_gets_its_row_twice(tmp_path):
    cache, x = FeatureCache(tmp_path), features(0, rows=2)
    cache.put(IDENTITY, ["b", "a", "b"], x[[0, 1, 0]])
    np.testing.assert_array_equal(cache.get(IDENTITY, ["a", "b", "b"]), x[[1, 0, 0]])


def test_a_damaged_file_is_dropped_and_computed_again(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(IDENTITY, names(0), features(0))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    assert cache.get(IDENTITY, names(0)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_be_read_stays(tmp_path, caplog):
    cache = FeatureCache(tmp_path)
    cache.put(IDENTITY, names(0), features(0))
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()  # an OSError when it is opened, as another user's is, for root too
    assert cache.get(IDENTITY, names(0)) is None
    assert "cannot be read" in caplog.text
    assert path.exists()


def test_a_second_user_may_read_where_the_umask_says_so(tmp_path):
    before = os.umask(0o022)
    try:
        FeatureCache(tmp_path).put(IDENTITY, names(0), features(0))
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_least_recently_used_go_first_and_the_bound_holds(tmp_path):
    cache = FeatureCache(tmp_path, max_mb=0.05)  # three sets of 16 kB
    for seed in range(3):
        cache.put(IDENTITY, names(seed), features(seed))
        for path in tmp_path.iterdir():
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
    assert cache.get(IDENTITY, names(0)) is not None  # used: now the youngest
    cache.put(IDENTITY, names(3), features(3))
    assert cache.get(IDENTITY, names(0)) is not None
    assert cache.get(IDENTITY, names(1)) is None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 0.05 * 2**20


def test_nothing_half_written_stays_behind(tmp_path):
    FeatureCache(tmp_path).put(IDENTITY, names(0), features(0))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_a_folder_that_cannot_be_made_is_logged_and_not_fatal(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    FeatureCache(tmp_path / "file").put(IDENTITY, names(0), features(0))
    assert "not cached" in caplog.text


_SHARING = """
import sys
import numpy as np
from d2n.scores.feature_cache import FeatureCache
cache = FeatureCache(sys.argv[1], max_mb=0.05)
for i in range(60):
    rows = np.full((4, 1000), i % 5, dtype=np.float32)
    names = [f"{i % 5}-{row}" for row in range(4)]
    cache.put({"extractor": "x"}, names, rows)
    found = cache.get({"extractor": "x"}, names)  # None: another process evicted it
    assert found is None or np.array_equal(found, rows)
"""


def test_processes_that_share_a_folder_never_read_half_a_file(tmp_path):
    command = [sys.executable, "-c", _SHARING, str(tmp_path)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    assert "damaged" not in "".join(errors)
