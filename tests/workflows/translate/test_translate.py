"""Folders and files to night: what is done is known to be done, by whom, and nothing is lost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from d2n import cli
from d2n.config import translator_config
from d2n.datasets.images import load_rgb, save_rgb
from d2n.errors import DataError, ImageError, RegistryError
from d2n.files.reading import file_sha256
from d2n.translators import checkpoint
from d2n.translators.from_config import generator_from_config
from d2n.workflows import translate
from d2n.workflows.translate import record


def save_generator(folder: Path, seed: int, **knobs: object) -> Path:
    torch.manual_seed(seed)
    config = translator_config(
        "cyclegan", "toy", generator_channels=4, generator_blocks=1, init_gain=0.2, **knobs
    )
    checkpoint.save_generator(
        folder, generator_from_config(config, torch.Generator().manual_seed(seed)), config
    )
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Two generators and three photographs."""
    with contextlib.chdir(tmp_path):
        save_generator(Path("gen"), 0)
        save_generator(Path("other"), 1)
        photographs("day", "a.jpg", "b.png", "sub/a.png")
        yield tmp_path


def photographs(folder: str, *names: str, size: tuple[int, int] = (40, 52)) -> None:
    rng = np.random.default_rng(len(names))
    for name in names:
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        save_rgb(rng.integers(0, 256, (*size, 3), dtype=np.uint8), Path(folder, name))


def run(source: str = "day", target: str = "night", model: str = "gen", **knobs: object) -> list[str]:
    defaults: dict[str, object] = {
        "batch_size": 2,
        "max_pixels": 4_000_000,
        "device": "cpu",
        "on_bad_image": "fail",
        "tracking_uri": None,
        "progress": False,
    }
    return translate.translate_command(model, Path(source), Path(target), **{**defaults, **knobs})  # type: ignore[arg-type] # a dict of options


def nights(folder: str = "night") -> dict[str, str]:
    found = sorted(p for p in Path(folder).rglob("*") if p.is_file() and not p.name.startswith("."))
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in found}


def test_the_same_command_makes_what_is_missing_or_changed_and_nothing_else(place: Path) -> None:
    assert run()[0].startswith("3 images by night in night, made by gen")
    first = nights()
    assert list(first) == ["a.jpg", "b.png", "sub/a.png"]
    times = {p: p.stat().st_mtime_ns for p in Path("night").rglob("*.*")}
    assert run()[:2] == ["0 images by night in night, made by gen", "3 were there already"]
    assert {p: p.stat().st_mtime_ns for p in Path("night").rglob("*.*")} == times
    Path("night/b.png").unlink()
    photographs("day", "sub/a.png", size=(24, 24))
    lines = run()
    assert (lines[0][:8], lines[1]) == ("2 images", "1 were there already")
    assert nights()["a.jpg"] == first["a.jpg"]
    assert load_rgb("night/sub/a.png").shape == (24, 24, 3)
    assert run()[1] == "3 were there already"


def test_another_model_is_refused_by_name_until_overwrite(place: Path) -> None:
    run()
    before = nights()
    with pytest.raises(
        DataError, match=r"night: holds nights by gen \(sha256 .*not by other \(sha256 .*--overwrite"
    ):
        run(model="other")
    photographs("more", "new.png")
    with pytest.raises(DataError, match="holds nights by gen"):  # a folder belongs to one model
        run("more", model="other")
    assert nights() == before
    assert run(model="other", overwrite=True)[0].startswith("3 images by night")
    assert all(before[name] != after for name, after in nights().items())
    assert run(model="other")[1] == "3 were there already"
    with pytest.raises(DataError, match="holds nights by other"):
        run()


def test_a_copied_model_is_the_same_model_and_other_weights_in_its_place_are_not(place: Path) -> None:
    run()
    Path("gen").rename("copy")
    assert run(model="copy")[1] == "3 were there already"
    save_generator(Path("copy"), 5)
    with pytest.raises(DataError, match="holds nights by gen"):
        run(model="copy")


@pytest.mark.parametrize("knob", [{"shorter_side_px": 20}, {"model": "running"}])
def test_the_same_weights_used_otherwise_are_another_maker(place: Path, knob: dict[str, object]) -> None:
    save_generator(Path("batch"), 0, generator_norm="batch", inference_norm="batch")
    save_generator(Path("running"), 0, generator_norm="batch", inference_norm="running")
    run(model="batch")
    with pytest.raises(DataError, match="--overwrite"):
        run(**{"model": "batch", **knob})


def test_overwrite_makes_anew_and_says_what_of_another_model_stays(place: Path) -> None:
    run()
    Path("day/b.png").unlink()
    lines = run(model="other", overwrite=True)
    assert lines[0].startswith("2 images")
    assert lines[-1].startswith("1 nights of another model stay there")
    assert run(model="other")[1] == "2 were there already"


def test_an_interrupted_overwrite_goes_on_by_either_command(place: Path) -> None:
    run()
    Path("day/b.png").rename("b.png")
    Path("day/b.png").write_text("no image")
    with pytest.raises(ImageError, match=r"b\.png"):
        run(model="other", overwrite=True, batch_size=1)
    Path("b.png").replace("day/b.png")
    lines = run(model="other")
    assert (lines[0][:8], lines[1]) == ("2 images", "1 were there already")
    assert run(model="other")[1] == "3 were there already"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_no_model_made_is_not_taken_for_a_night(place: Path, overwrite: bool) -> None:
    photographs("night", "a.jpg")
    mine = nights()["a.jpg"]
    if not overwrite:
        with pytest.raises(DataError, match=r"night/a\.jpg: is there, and is not what translate wrote"):
            run()
        assert nights() == {"a.jpg": mine}
        return
    run(overwrite=True)
    assert nights()["a.jpg"] != mine
    photographs("night", "a.jpg")  # by hand again: the permission was for the file of then
    with pytest.raises(DataError, match="is not what translate wrote"):
        run()


def test_a_night_cut_short_is_not_taken_for_one(place: Path) -> None:
    run()
    Path("night/a.jpg").write_bytes(Path("night/a.jpg").read_bytes()[:-100])
    with pytest.raises(DataError, match="is not what translate wrote"):
        run()


def test_killed_before_or_in_the_middle_of_a_write(place: Path) -> None:
    run()
    whole, memory = nights(), Path("night", record.FILE)
    lines = memory.read_bytes().splitlines(keepends=True)
    Path("night/sub/a.png").unlink()
    memory.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert run()[1] == "2 were there already"
    assert nights() == whole
    assert [json.loads(line)["name"] for line in memory.read_text().splitlines()] == [
        "a.jpg",
        "b.png",
        "sub/a.png",
    ]
    Path("night/b.png").unlink()  # announced, and not yet there
    assert run()[1] == "2 were there already"


def test_a_damaged_memory_is_one_line_and_begun_anew(place: Path) -> None:
    run()
    memory = Path("night", record.FILE)
    kept = memory.read_bytes()
    for damaged in (
        b"{]\n",
        b"[1]\n",
        b"7\n",
        b'{"name": 3}\n',
        b'{"name": "a"}\n',
        b"[" * 10_000 + b"\n",
        b"\xff\n",
        b"\n",
    ):
        memory.write_bytes(damaged + kept)
        with pytest.raises(DataError, match=r"line 1 is damaged .*--overwrite"):
            run()
    assert run(overwrite=True)[0].startswith("3 images")
    assert run()[1] == "3 were there already"


@pytest.mark.parametrize(
    "target", ["day", "day/", "./day", "day/../day", "day/fake", "day/sub", "link", "link/new", "here/day"]
)
def test_nights_never_lie_among_the_photographs(place: Path, target: str) -> None:
    Path("link").symlink_to("day")
    Path("here").symlink_to(".")
    before = nights("day")
    with pytest.raises(DataError, match=r"for photographs; name a folder elsewhere"):
        run(target=target)
    with pytest.raises(DataError, match=r"for photographs; name a folder elsewhere"):
        run(target=target, overwrite=True)
    assert nights("day") == before


def test_the_folder_itself_as_a_point_or_by_its_whole_path(place: Path) -> None:
    with contextlib.chdir("day"), pytest.raises(DataError, match="name a folder elsewhere"):
        run(".", str(place / "day" / "x"), model=str(place / "gen"))
    with pytest.raises(DataError, match="name a folder elsewhere"):
        run(str(place / "day"), "day")


def test_nights_above_the_photographs_do_not_fall_among_them(place: Path) -> None:
    photographs("photos/day", "day/a.png", "b.png")
    with pytest.raises(DataError, match=r"photos/day: nights would be written there, among the photographs"):
        run("photos/day", "photos")
    run("day", ".", overwrite=False)
    assert run("day", ".")[1] == "3 were there already"
    Path("out").mkdir()
    Path("out/sub").symlink_to(Path("day").resolve())
    with pytest.raises(DataError, match=r"out/sub: nights would be written there"):
        run("day", "out")


def test_hidden_files_are_no_photographs(place: Path) -> None:
    Path("day/._a.jpg").write_bytes(b"\0\5\x16\7Mac OS X")
    Path("day/.DS_Store").write_bytes(b"x")
    photographs("day", ".thumbnails/a.jpg")
    assert run()[0].startswith("3 images")


def test_names_of_any_bytes_survive(place: Path) -> None:
    names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")] + [
        os.fsdecode(b"\xff.png"),
        "a b\nc?.png",
    ]
    for i, name in enumerate(names):
        photographs("names", name, size=(20 + i, 20))
    assert run("names", "out")[0].startswith("4 images")
    assert {p.name for p in Path("out").iterdir()} == {*names, record.FILE}
    assert run("names", "out")[1] == "4 were there already"
    assert [load_rgb(Path("out", name)).shape[0] for name in names] == [20, 21, 22, 23]


def test_what_is_no_image_is_told_or_skipped_with_its_reason(place: Path) -> None:
    Path("day/x.jpg").write_text("no image")
    Path("day/y.png").write_bytes(b"")
    os.mkfifo("day/z.png")
    with pytest.raises(ImageError, match=r"day/x\.jpg: not an image"):
        run()
    lines = run(on_bad_image="skip")
    assert lines[:2] == ["0 images by night in night, made by gen", "3 were there already"]
    assert "3 could not be read and were skipped" in lines
    assert [line.split(":")[0] for line in lines[-3:]] == ["  day/x.jpg", "  day/y.png", "  day/z.png"]
    assert len(nights()) == 3


def test_one_file_to_one_file(place: Path) -> None:
    assert run("day/a.jpg", "new/night.png") == ["1 image by night in new/night.png, made by gen"]
    assert load_rgb("new/night.png").shape == (40, 52, 3)
    assert run("day/a.jpg", "new/night.png")[1] == "1 were there already"
    run("day/a.jpg", "new/by_other.png", model="other")  # beside it, for comparison
    with pytest.raises(DataError, match="holds nights by gen"):
        run("day/a.jpg", "new/night.png", model="other")
    with pytest.raises(DataError, match="holds nights by other"):
        run("day/b.png", "new/by_other.png")
    Path("folder").mkdir()
    run("day/a.jpg", "folder")
    assert list(nights("folder")) == ["a.jpg"]


def test_one_file_to_where_it_cannot_go(place: Path) -> None:
    with pytest.raises(DataError, match=r"night\.docx: a night ends in one of .*\.png"):
        run("day/a.jpg", "night.docx")
    Path("same.jpg").hardlink_to("day/a.jpg")
    Path("day/link.jpg").symlink_to("a.jpg")
    for target in ("day/a.jpg", "day", "./day/../day/a.jpg", "same.jpg", "day/link.jpg"):
        with pytest.raises(DataError, match="is the photograph itself"):
            run("day/a.jpg", target, overwrite=True)
    with pytest.raises(DataError, match=r"nowhere: no such file or folder"):
        run("nowhere", "x")
    Path("file.txt").write_text("x")
    with pytest.raises(DataError, match=r"file\.txt: is a file and day a folder"):
        run("day", "file.txt")
    Path("empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        run("empty", "x")


def test_two_photographs_never_become_one_file(place: Path) -> None:
    photographs("two", "one/a.png", "other/a.png")
    Path("out/one").mkdir(parents=True)
    Path("out/other").symlink_to("one")
    with pytest.raises(DataError, match=r"two/one/a\.png and two/other/a\.png would become one file"):
        run("two", "out")
    assert nights("out") == {}


def test_smaller_first(place: Path) -> None:
    run("day", "small", shorter_side_px=20)
    assert load_rgb("small/a.jpg").shape == (20, 26, 3)
    assert run("day", "small", shorter_side_px=20)[1] == "3 were there already"
    run("day", "large", shorter_side_px=500)
    assert load_rgb("large/a.jpg").shape == (40, 52, 3)  # never larger


def test_in_strips_as_whole(place: Path) -> None:
    photographs("large", "a.png", "b.png", size=(120, 90))
    run("large", "whole")
    run("large", "strips", max_pixels=50 * 50)
    for name in ("a.png", "b.png"):
        whole, strips = (load_rgb(f"{folder}/{name}").astype(int) for folder in ("whole", "strips"))
        assert np.abs(whole - strips).max() <= 1
        assert whole.std() > 5


def test_what_the_photograph_says_of_itself_goes_with_it(place: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0110], exif[0x0132] = 6, "Model 1", "2020:05:01 12:34:56"
    exif[0x8825] = {1: "N", 2: (50.0, 5.0, 1.5)}
    image = Image.fromarray(load_rgb("day/a.jpg"))
    image.save("day/a.jpg", exif=exif, dpi=(300, 300))
    image.save("day/c.jpg", exif=b"Exif\0\0nonsense")
    assert run()[-1] == "1 have EXIF data that is damaged and was left out"
    with Image.open("night/a.jpg") as night:
        assert (night.size, night.info["dpi"]) == ((40, 52), (300, 300))
        assert night.getexif().get(0x0112, 1) == 1
        assert (night.getexif()[0x0110], night.getexif()[0x0132]) == ("Model 1", "2020:05:01 12:34:56")
        assert night.getexif().get_ifd(0x8825)[1] == "N"


def test_a_model_that_is_an_exported_program_alone(place: Path) -> None:
    Path("exported/data").mkdir(parents=True)
    Path("exported/data/model.pt2").write_bytes(b"x")
    with pytest.raises(
        RegistryError, match=r"exported program \(.pt2\) alone, expected generator.safetensors"
    ):
        run(model="exported")


def test_from_the_command_line(place: Path) -> None:
    done = CliRunner().invoke(
        cli.cli,
        [
            "translate",
            "gen",
            "day",
            "night",
            "--shorter-side-px",
            "16",
            "--device",
            "cpu",
            "--max-pixels",
            "4096",
        ],
    )
    assert done.exit_code == 0, done.output
    assert load_rgb("night/a.jpg").shape == (16, 21, 3)
    with pytest.raises(SystemExit) as raised, contextlib.redirect_stderr(io.StringIO()) as told:
        cli.main(["translate", "other", "day", "night", "--device", "cpu"])
    assert raised.value.code == 2
    assert [line.startswith("error: ") for line in told.getvalue().splitlines()] == [False, True]
    assert "--overwrite" in CliRunner().invoke(cli.cli, ["translate", "--help"]).output


def test_what_lies_among_the_photographs_and_is_not_read_is_told(place: Path) -> None:
    photographs("day", "a.jpg")
    Path("day/b.heic").write_bytes(b"1")
    Path("elsewhere").mkdir()
    Path("day/album").symlink_to(Path("elsewhere").resolve())
    told = " | ".join(run())
    assert "left out: 1 .heic" in told
    assert "left out: 1 linked folder" in told
    Path("phone").mkdir()
    Path("phone/b.heic").write_bytes(b"1")
    with pytest.raises(DataError, match=r"phone: holds no image .*1 \.heic: not read; convert to JPEG"):
        run("phone", "other")


def test_a_model_without_a_name_and_a_target_of_two_lines(place: Path) -> None:
    photographs("day", "a.jpg")
    done = CliRunner().invoke(cli.cli, ["translate", "", "day", "night"])
    assert "MODEL is empty" in str(done.exception)
    done = CliRunner().invoke(cli.cli, ["translate", "gen", "day/a.jpg", "two\nlines.jpg", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "1 image by night in two lines.jpg" in done.output
