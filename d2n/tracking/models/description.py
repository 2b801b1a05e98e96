"""The folder of a model: which files it may hold, and what its MLmodel may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from d2n.errors import RegistryError
from d2n.files.reading import brief
from d2n.files.yaml import read_yaml
from d2n.tracking.seal import list_files

EXPORTED = "data/model.pt2"  # inside a model's folder
EXTRA_FILES = "extra_files"
DESCRIPTION = "MLmodel"
LOADER = "mlflow.pytorch"
_PLAIN = {
    DESCRIPTION, EXPORTED, "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json",
    "serving_input_example.json", "registered_model_meta",
}  # fmt: skip
_CARD = {"README.md", "card.md", "card.json"}  # what `d2n pull` adds, and samples/
_KINDS = (".json", ".safetensors", ".md", ".png", ".txt")  # of the files beside the program
_TOP = {
    "artifact_path", "databricks_runtime", "flavors", "is_signature_from_type_hint", "metadata", "mlflow_version",
    "model_id", "model_size_bytes", "model_uuid", "prompts", "run_id", "saved_input_example_info", "signature",
    "type_hint_from_example", "utc_time_created",
}  # fmt: skip
_PYTHON = {"config", "data", "env", "loader_module", "pickle_module_name", "python_version"}
_PYTORCH = {"code", "extra_files", "model_data", "pytorch_version", "requirements_file"}
_PICKLES = ("mlflow.pytorch.pickle_module", None)  # written also where there is no pickle


def check_folder(folder: Path) -> None:
    """RegistryError unless the folder holds an exported model, text and weights alone, and names no code."""
    names = list_files(folder)
    missing = [part for part in (DESCRIPTION, EXPORTED) if part not in names]
    for name in names:
        if not _may_hold(name):
            why = " (a pickle)" if name.endswith((".pth", ".pkl", ".pickle", ".pt", ".ckpt")) else ""
            lacks = f" and lacks {' and '.join(missing)}" if missing else ""
            raise RegistryError(
                f"the model in {folder} holds {brief(name)}{why}{lacks}: expected {EXPORTED}, its MLmodel, and "
                "weights as safetensors; nothing of it was loaded"
            )
    if missing:
        raise RegistryError(
            f"the model in {folder} lacks {' and '.join(missing)}: expected a torch.export model"
        )
    check_description(folder / DESCRIPTION)


def check_description(path: Path) -> None:
    """RegistryError unless an MLmodel names mlflow.pytorch alone, and no code."""
    values = read_yaml(path, RegistryError, absent="no MLmodel")
    flavors = values.get("flavors") if isinstance(values, dict) else None
    if (
        not isinstance(flavors, dict)
        or set(flavors) - {"python_function", "pytorch"}
        or "pytorch" not in flavors
    ):
        raise RegistryError(f"{path}: flavors are {brief(flavors)}, expected pytorch and python_function")
    _check_keys(path, "", values, _TOP)
    python, pytorch = flavors.get("python_function"), flavors["pytorch"]
    for name, values, known in (("python_function", python, _PYTHON), ("pytorch", pytorch, _PYTORCH)):
        if values is not None:
            _check_keys(path, f"flavors.{name}.", values, known)
    if python is not None:
        _check_value(path, "loader_module", python.get("loader_module"), (LOADER,))
        _check_value(path, "data", python.get("data"), ("data",))
        _check_value(path, "pickle_module_name", python.get("pickle_module_name"), _PICKLES)
        _check_value(path, "config", python.get("config"), ({"device": None}, {}, None))
    _check_value(path, "model_data", pytorch.get("model_data"), ("data",))
    _check_value(path, "code", pytorch.get("code"), (None,))


def metadata(folder: Path) -> dict[str, Any]:
    """What was written of the model when it was logged: method, stride, input_range …"""
    values = read_yaml(folder / DESCRIPTION, RegistryError, absent="no MLmodel")
    found = values.get("metadata") if isinstance(values, dict) else None
    return found if isinstance(found, dict) else {}


def _may_hold(name: str) -> bool:
    if name in _PLAIN or name in _CARD:
        return True
    top, _, rest = name.partition("/")
    return bool(rest) and top in (EXTRA_FILES, "samples") and name.endswith(_KINDS)


def _check_keys(path: Path, where: str, values: Any, known: set[str]) -> None:
    if not isinstance(values, dict):
        raise RegistryError(f"{path}: {where.rstrip('.')} is {brief(values)}, expected names with values")
    other = sorted(str(key) for key in set(values) - known)
    if other:
        raise RegistryError(
            f"{path}: names {where}{other[0]}: {brief(values[other[0]])}; expected a model of {LOADER} without code; "
            "nothing of it was loaded"
        )


def _check_value(path: Path, key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise RegistryError(
            f"{path}: {key} is {brief(value)}, expected {brief(allowed[0])}: it could run code; nothing of it was "
            "loaded"
        )
