"""The folder of a model and its MLmodel: exactly what d2n writes, or nothing is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.errors import RegistryError
from d2n.tracking.models import description

_MLMODEL = """flavors:
  python_function:
    config:
      device: null
    data: data
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.pytorch
    pickle_module_name: mlflow.pytorch.pickle_module
    python_version: 3.11.7
  pytorch:
    code: null
    model_data: data
    pytorch_version: 2.14.1
metadata: {method: pix2pix, stride: 16}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/model.pt2").write_bytes(b"x")
    (tmp_path / "MLmodel").write_text(_MLMODEL)
    return tmp_path


def test_what_d2n_writes_passes(folder: Path) -> None:
    (folder / "extra_files").mkdir()
    (folder / "extra_files/generator.safetensors").write_bytes(b"x")
    description.check_folder(folder)
    assert description.metadata(folder) == {"method": "pix2pix", "stride": 16}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loader_module: mlflow.pytorch", "loader_module: planted"),
        ("loader_module: mlflow.pytorch", "loader_module: mlflow.pyfunc.model"),
        ("    data: data", "    data: ../elsewhere"),
        ("    data: data", "    data: data\n    code: code"),
        ("    code: null", "    code: code"),
        ("model_data: data", "model_data: /tmp/x"),
        ("pickle_module_name: mlflow.pytorch.pickle_module", "pickle_module_name: planted"),
        ("  pytorch:", "  sklearn: {pickled_model: model.pkl}\n  pytorch:"),
        ("metadata:", "model_config: {a: 1}\nmetadata:"),
        ("device: null", "device: {loader: x}"),
        ("flavors:", "flavors: []\nother:"),
    ],
)
def test_a_description_that_names_code_is_refused(folder: Path, old: str, new: str) -> None:
    assert old in _MLMODEL
    (folder / "MLmodel").write_text(_MLMODEL.replace(old, new, 1))
    with pytest.raises(RegistryError) as caught:
        description.check_folder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "data/model.pth",
        "data/pickle_module_info.txt",
        "code/planted.py",
        "extra_files/x.pkl",
        "x.so",
        "sitecustomize.py",
    ],
)
def test_a_file_that_does_not_belong_there_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(RegistryError, match=name.rpartition("/")[2].replace(".", r"\.")):
        description.check_folder(folder)


def test_yaml_that_makes_objects_is_refused(folder: Path) -> None:
    (folder / "MLmodel").write_text("flavors: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(RegistryError):
        description.check_folder(folder)
