"""Archives of exported programs: what torch would run of them is refused, unread."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from d2n.errors import RegistryError
from d2n.tracking.models import archive


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)[..., : x.shape[-1] // 2]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As torch writes it: with the pickle of its example and the places of its sources."""
    path = tmp_path_factory.mktemp("archive") / "model.pt2"
    auto = torch.export.Dim.AUTO
    shapes = ({0: auto, 2: auto, 3: auto},)
    module = Net().eval().requires_grad_(False)
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 8, 9),), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def plain(traced: Path) -> Path:
    archive.rewrite(traced, traced.with_name("plain.pt2"))
    return traced.with_name("plain.pt2")


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}


def write(path: Path, content: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as made:
        for name, value in content.items():
            made.writestr(name, value)
    return path


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, of itself
def test_a_rewritten_archive_is_the_same_program_without_pickle_and_places(traced: Path, plain: Path) -> None:
    archive.require_plain(plain)
    assert not archive.is_plain(traced)
    with pytest.raises(RegistryError, match="holds a pickle"):
        archive.require_plain(traced)
    images = torch.rand(1, 3, 5, 11)
    expected = torch.export.load(traced).module()(images)
    torch.testing.assert_close(torch.export.load(plain).module()(images), expected, rtol=0, atol=0)
    whole = b"".join(members(plain).values())
    assert b"OrderedDict" not in whole
    assert b".py" not in whole


def test_rewriting_again_changes_nothing(plain: Path, tmp_path: Path) -> None:
    archive.rewrite(plain, tmp_path / "again.pt2")
    assert (tmp_path / "again.pt2").read_bytes() == plain.read_bytes()


def _node(values: Any) -> Any:
    return values["graph_module"]["graph"]["nodes"][-1]


def _target(name: str) -> Callable[[Any], None]:
    return lambda values: _node(values).update(target=name)


def _expression(text: str) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        sizes = values["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        next(size for size in sizes if "as_expr" in size)["as_expr"]["expr_str"] = text

    return change


def _spec(text: str) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        values["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = text

    return change


@pytest.mark.parametrize(
    "change",
    [
        _target("torch.os.system"),
        _target("torch.hub.load"),
        _target("torch.ops.aten.from_file.default"),
        _target("torch.ops.aten.add.__class__"),
        _target("_operator.attrgetter"),
        _target("#planted"),
        _expression("__import__('os').system('touch x')"),
        _expression("Symbol('s0').__class__"),
        _expression("(lambda: 1)()"),
        _expression("Integer(9)**Integer(9)**9999999"),
        _expression("9**9999999"),
        lambda values: _node(values).update(name="x\nimport os"),
        lambda values: _node(values)["inputs"].append(
            {"name": "f", "arg": {"as_operator": "os.system"}, "kind": 1}
        ),
        lambda values: values.update(verifiers=["a\nb"]),
        _spec('[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'),
        _spec('[1, {"type": "builtins.dict", "context": "{\\"__enum__\\": 1}", "children_spec": []}]'),
    ],
)
def test_a_program_that_could_run_code_is_refused(
    plain: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    content = members(plain)
    values = copy.deepcopy(json.loads(content["model/models/model.json"]))
    change(values)
    content["model/models/model.json"] = json.dumps(values).encode()
    with pytest.raises(RegistryError) as caught:
        archive.is_plain(write(tmp_path / "model.pt2", content))
    assert "\n" not in str(caught.value)


def _pickle(value: object) -> bytes:
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


class _Called:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("planted code ran",))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/sample_inputs/model.pt", _pickle(_Called())),
        ("data/sample_inputs/model.pt", pickle.dumps(_Called())),
        ("data/sample_inputs/model.pt", b"PK\x03\x04 nonsense"),
        ("data/constants/custom_obj_0", pickle.dumps(_Called())),
        ("data/constants/opaque_obj_0", pickle.dumps(_Called())),
        ("data/weights/model.pt", _pickle(_Called())),
        ("data/weights/weight_77", b"nobody asks for it"),
        ("data/aotinductor/model/planted.so", b"\x7fELF"),
        ("extra/planted.py", b"import os"),
        ("archive_format", b"pt3"),
    ],
)
def test_a_member_that_is_no_tensor_is_refused(
    plain: Path, tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "model.pt2", {**members(plain), f"model/{name}": content})
    with pytest.raises(RegistryError):
        archive.is_plain(path)
    assert "planted code ran" not in capsys.readouterr().out


def test_a_tensor_that_is_to_be_unpickled_is_refused(plain: Path, tmp_path: Path) -> None:
    content = members(plain)
    name = "model/data/weights/model_weights_config.json"
    content[name] = content[name].replace(b'"use_pickle": false', b'"use_pickle": true')
    with pytest.raises(RegistryError, match="is a pickle"):
        archive.is_plain(write(tmp_path / "model.pt2", content))


def test_an_archive_that_readers_could_see_differently_is_refused(plain: Path, tmp_path: Path) -> None:
    whole = plain.read_bytes()
    for number, content in enumerate((b"#!/bin/sh\n" + whole, whole + b"more", whole[:-30], b"", b"PK")):
        path = tmp_path / f"{number}.pt2"
        path.write_bytes(content)
        with pytest.raises(RegistryError):
            archive.is_plain(path)
    with pytest.raises(RegistryError, match="compressed"):
        archive.is_plain(write(tmp_path / "deflated.pt2", members(plain), zipfile.ZIP_DEFLATED))
    twice = {**members(plain), "MODEL/models/model.json": b"{}"}
    with pytest.raises(RegistryError, match=r"twice|beside"):
        archive.is_plain(write(tmp_path / "twice.pt2", twice))


def test_a_flipped_byte_is_refused_or_harmless(plain: Path, tmp_path: Path) -> None:
    """Whatever a byte becomes, the check refuses it or finds plain data."""
    whole = plain.read_bytes()
    for at in range(0, len(whole), 97):
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        path = tmp_path / "flipped.pt2"
        path.write_bytes(bytes(changed))
        with contextlib.suppress(RegistryError):  # and nothing else
            archive.is_plain(path)
