"""One look at a file."""

from __future__ import annotations

from pathlib import Path

from d2n.datasets.scan import load_probes, probe_image, scan_images
from tests.datasets.miniatures import photo


def test_what_a_look_finds(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", size=(30, 20))
    probe = probe_image(str(tmp_path), "a.jpg")
    assert (probe.width, probe.height, probe.problem) == (30, 20, "")
    assert (probe.size_bytes, probe.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert len(probe.sha256) == 64


def test_problems_begin_with_the_path_and_nothing_is_raised(tmp_path: Path) -> None:
    photo(tmp_path / "tiny.png", size=(7, 40))
    (tmp_path / "text.png").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for name in ("tiny.png", "text.png", "absent.png", "folder.png", "../out.png"):
        assert name in probe_image(str(tmp_path), name).problem


def test_memory_keeps_every_look_and_passes_over_a_cut_line(tmp_path: Path) -> None:
    for i in range(3):
        photo(tmp_path / f"{i}.png", i)
    memory = tmp_path / "out" / "memory.jsonl"
    found = scan_images(tmp_path, ["0.png", "1.png", "0.png"], memory)
    assert list(found) == ["0.png", "1.png"]
    memory.write_bytes(memory.read_bytes()[:-10])
    assert list(load_probes(memory)) == ["0.png"]
    scan_images(tmp_path, ["2.png"], memory)
    assert list(load_probes(memory)) == ["0.png", "2.png"]


def test_memory_does_not_grow_when_files_keep_changing(tmp_path: Path) -> None:
    memory = tmp_path / "memory.jsonl"
    for seed in range(5):
        photo(tmp_path / "a.png", seed, size=(30 + seed, 30))
        scan_images(tmp_path, ["a.png"], memory)
    assert len(memory.read_bytes().splitlines()) == 1
