"""load_generator and translate: any size and kind in, night of the same out; what cannot be is told in a line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import d2n
from d2n.config import translator_config
from d2n.errors import D2NError, DataError, ImageError, RegistryError, TrackingError
from d2n.translators import checkpoint
from d2n.translators.from_config import generator_from_config
from d2n.translators.translate import translate_image


@pytest.fixture(scope="module", params=["cyclegan", "pix2pix"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    knobs: dict[str, object] = {"generator_blocks": 1} if request.param == "cyclegan" else {"unet_depth": 4}
    config = translator_config(request.param, "toy", generator_channels=4, init_gain=0.2, **knobs)
    out = tmp_path_factory.mktemp("gen") / "generator"
    generator = generator_from_config(config, torch.Generator().manual_seed(0))
    checkpoint.save_generator(out, generator, config)
    return out


@pytest.fixture(scope="module")
def generator(folder: Path) -> d2n.NightGenerator:
    return d2n.load_generator(folder)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 23), (2, 16, 61), (0, 32, 32), (1, 40, 33)])
def test_floats_of_any_number_and_size_come_back_as_floats_of_that_shape(
    generator: d2n.NightGenerator, shape: tuple[int, int, int]
) -> None:
    images = torch.rand(shape[0], 3, *shape[1:], generator=torch.Generator().manual_seed(1))
    night = generator(images)
    assert (night.shape, night.dtype, night.requires_grad) == (images.shape, torch.float32, False)
    assert bool(((night >= 0) & (night <= 1)).all())


def test_bytes_and_floats_of_the_same_photograph_make_the_same_night(generator: d2n.NightGenerator) -> None:
    images = torch.randint(
        0, 256, (2, 3, 20, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    night = generator(images)
    assert night.dtype == torch.float32
    torch.testing.assert_close(night, generator(images.float() / 255), atol=2e-6, rtol=0)


def test_many_images_go_through_in_parts_and_the_mode_of_training_does_not_matter(
    generator: d2n.NightGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    whole = generator(images)
    monkeypatch.setattr("d2n.workflows.night.MAX_PIXELS", 600)
    generator.train()
    parts = generator(images)
    generator.eval()
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((1, 3, 16, 16), float("nan")), "768 values that are not finite"),
        (torch.rand(1, 3, 16, 16) / 0, "not finite"),
        (
            torch.full((1, 3, 16, 16), 200.0),
            "from 200 to 200, expected float32 in [0, 1]; divide them by 255",
        ),
        (torch.full((1, 3, 16, 16), -1.0), "from -1 to -1, expected float32 in [0, 1]; shift and scale"),
        (torch.rand(1, 3, 16, 16, dtype=torch.float64), "torch.float64, expected torch.float32 in [0, 1]"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.int64), "torch.int64, expected"),
        (torch.rand(1, 3, 16, 16).half(), "torch.float16, expected"),
        (torch.rand(3, 16, 16), "shape (3, 16, 16), expected (N, 3, H, W)"),
        (torch.rand(1, 1, 16, 16), "shape (1, 1, 16, 16), expected (N, 3, H, W)"),
        (torch.rand(1, 3, 15, 40), "40 x 15 pixels, expected sides of 16 at least"),
        (np.zeros((16, 16, 3), np.uint8), "a ndarray is no batch of images"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_in_one_line(
    generator: d2n.NightGenerator, images: torch.Tensor, said: str
) -> None:
    with pytest.raises(ImageError) as caught:
        generator(images)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_kind_comes_back_as_itself_and_shows_the_same_night(
    folder: Path, generator: d2n.NightGenerator, tmp_path: Path
) -> None:
    array = np.random.default_rng(4).integers(0, 256, (18, 25, 3), dtype=np.uint8)
    (tmp_path / "day/sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(array).save(tmp_path / "day" / name)
    night = d2n.translate(array, folder)
    np.testing.assert_array_equal(night, translate_image(generator.generator, array, generator.stride))
    picture = d2n.translate(Image.fromarray(array), generator)
    assert isinstance(picture, Image.Image)
    np.testing.assert_array_equal(np.asarray(picture), night)
    tensor = d2n.translate(torch.from_numpy(array).permute(2, 0, 1), generator)
    assert tensor.shape == (3, 18, 25)
    assert np.abs(tensor.permute(1, 2, 0).numpy() * 255 - night).max() <= 0.51
    np.testing.assert_array_equal(np.asarray(d2n.translate(tmp_path / "day/a.png", generator)), night)
    nights = d2n.translate(str(tmp_path / "day"), generator)
    assert list(nights) == ["a.png", "sub/b.png"]
    np.testing.assert_array_equal(np.asarray(nights["sub/b.png"]), night)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_other_modes_become_rgb(generator: d2n.NightGenerator, mode: str) -> None:
    night = d2n.translate(Image.new("RGB", (20, 16), (90, 120, 30)).convert(mode), generator)
    assert (night.mode, night.size) == ("RGB", (20, 16))


def test_a_picture_that_is_cut_short_is_refused_and_a_transparent_palette_is_read(
    generator: d2n.NightGenerator,
) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    with pytest.raises(ImageError, match="the image: truncated or damaged"):
        d2n.translate(Image.open(io.BytesIO(file.getvalue()[:3000])), generator)
    palette = Image.fromarray(noise).convert("P")
    palette.info["transparency"] = b"\x00" * 4
    assert d2n.translate(palette, generator).mode == "RGB"


def test_other_kinds_are_refused_in_one_line(generator: d2n.NightGenerator, tmp_path: Path) -> None:
    refused: dict[str, object] = {
        "a list cannot be translated": [1, 2],
        "is of mode I;16": Image.new("I;16", (20, 20)),
        "(20, 20) and uint8, expected (H, W, 3)": np.zeros((20, 20), np.uint8),
        "float64, expected (H, W, 3) uint8": np.zeros((20, 20, 3)),
        "8 x 20 pixels": np.zeros((20, 8, 3), np.uint8),
        "absent.jpg: no such file": tmp_path / "absent.jpg",
    }
    for said, images in refused.items():
        with pytest.raises(ImageError) as caught:
            d2n.translate(images, generator)
        assert said in str(caught.value)
    with pytest.raises(DataError, match="holds no image"):
        d2n.translate(tmp_path, generator)


def test_a_reference_to_nothing_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="nothing was tracked"):
        d2n.load_generator("d2n-toycity@champion")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(D2NError):
        d2n.load_generator("empty")


def test_it_is_a_module_that_moves_and_holds_its_origin(generator: d2n.NightGenerator, folder: Path) -> None:
    assert isinstance(generator, torch.nn.Module)
    assert generator.origin == str(folder)
    assert generator.config["method"] in ("cyclegan", "pix2pix")
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_registered_generators_are_not_looked_for_in_folders_without_weights(tmp_path: Path) -> None:
    (tmp_path / "x.pt2").touch()
    with pytest.raises(RegistryError, match="holds an exported program"):
        d2n.load_generator(tmp_path)
