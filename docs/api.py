"""Writes docs/api.md, the names that others call, from their docstrings: ``make api``."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).with_name("api.md")
HEAD = """\
# Names that others call

Written by `make api` from the docstrings; a test asks whether it is current. These names keep their meaning; all
others may change with any release. Errors that a user can mend are children of `d2n.D2NError`, in one line.

    import d2n

    project = d2n.open()                                            # mlruns/ here, or a tracking URI
    table = project.runs("toycity", kind="translation")             # pandas: one row a run
    night = d2n.translate("photo.jpg", "d2n-toycity@champion")      # a PIL image
    generator = d2n.load_generator("d2n-toycity@champion")          # a torch module, float32 in [0, 1]
"""

# Module, or class of a module, → its names
NAMES = {
    "d2n": ("open", "load_generator", "translate", "Project", "NightGenerator", "D2NError"),
    "d2n.scores.frechet": ("FeatureStats", "frechet_distance", "frechet_from_features"),
    "d2n.scores.kid": ("kid",),
    "d2n.scores.prd": ("prd", "prd_from_histograms", "PrdCurve", "max_f_beta"),
    "d2n.scores.neighbours": ("precision_recall_density_coverage", "PRDC"),
    "d2n.scores.ssim": ("ssim", "ms_ssim"),
    "d2n.scores.inception_score": ("inception_score",),
    "d2n.scores.mean_ap": (
        "average_precision",
        "mean_average_precision",
        "revisited",
        "recall_at",
        "MapResult",
    ),
    "d2n.translators.networks": ("UNetGenerator", "ResNetGenerator", "PatchDiscriminator"),
    "d2n.retrieval.network": ("GeM", "l2n", "RetrievalNetwork"),
    "d2n.retrieval.losses": ("contrastive_loss",),
    "d2n.retrieval.whitening": ("learn_whitening", "apply_whitening", "Whitening"),
    "d2n.retrieval.night": ("pad_to_multiple", "unpad", "NightAugmentation"),
}


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n## {module}\n{''.join(_entries(module))}" for module in NAMES)


def _entries(module: str) -> list[str]:
    home = import_module(module)
    return [_entry(name, getattr(home, name)) for name in NAMES[module]]


def _entry(name: str, value: object) -> str:
    shown = f"\n### {name}\n\n    {_call(name, value)}\n\n{_text(value)}\n"
    return shown + "".join(_method(name, one, method) for one, method in _methods(value))


def _method(owner: str, name: str, value: object) -> str:
    call = f"    {owner}.{name}" if isinstance(value, property) else f"    {_call(f'{owner}.{name}', value)}"
    return f"\n{call}\n\n{_text(value)}\n"


def _methods(value: object) -> list[tuple[str, object]]:
    """Documented public methods and properties that the class itself defines, in their order."""
    if not inspect.isclass(value) or issubclass(value, Exception):
        return []
    kinds = (classmethod, staticmethod, property)
    named = [(name, one) for name, one in vars(value).items() if not name.startswith("_")]
    found = [(name, one) for name, one in named if isinstance(one, kinds) or inspect.isfunction(one)]
    bound = [(name, one if isinstance(one, property) else getattr(value, name)) for name, one in found]
    return [(name, one) for name, one in bound if inspect.getdoc(one)]


def _call(name: str, value: object) -> str:
    """The name with its parameters, without self."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return name
    signature = inspect.signature(value)  # type: ignore[arg-type] # callable: names are classes or functions
    kept = [p for p in signature.parameters.values() if p.name != "self"]
    text = re.sub(r"'([^']*)'", _unquoted, f"{name}{signature.replace(parameters=kept)}")
    return text.removesuffix(" -> None") if inspect.isclass(value) else text


def _unquoted(match: re.Match[str]) -> str:
    """Annotations are texts, defaults too: only the former are shown without quotes."""
    before = match.string[: match.start()]
    return match[1] if before.endswith((": ", "-> ")) else match[0]


def _text(value: object) -> str:
    doc = inspect.getdoc(value) or ""
    return re.sub(r"``(.+?)``", r"`\1`", doc)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
