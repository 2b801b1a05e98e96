"""Day-to-night image translation as data augmentation for image retrieval.

    import d2n

    project = d2n.open()  # mlruns/ here, or a tracking URI
    project.runs("toycity")  # a pandas table, one row a run
    night = d2n.translate("photo.jpg", "d2n-toycity@champion")  # a PIL image
    generator = d2n.load_generator("d2n-toycity@champion")  # a torch module

Everything is loaded when it is first used: ``import d2n`` alone loads neither torch nor MLflow nor pandas.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d2n.errors import D2NError
    from d2n.workflows.night import NightGenerator, load_generator, translate
    from d2n.workflows.project import Project
    from d2n.workflows.project import open_project as open  # noqa: A004 - d2n.open

__version__ = "0.1.0"

__all__ = ["D2NError", "NightGenerator", "Project", "__version__", "load_generator", "open", "translate"]

_HOMES = {
    "D2NError": ("d2n.errors", "D2NError"),
    "NightGenerator": ("d2n.workflows.night", "NightGenerator"),
    "Project": ("d2n.workflows.project", "Project"),
    "load_generator": ("d2n.workflows.night", "load_generator"),
    "open": ("d2n.workflows.project", "open_project"),
    "translate": ("d2n.workflows.night", "translate"),
}


def _bound_waiting() -> None:
    """Let torch's threads sleep soon when they wait for each other, before torch loads.

    Beside another busy process the default's long spinning costs many times a step
    (benchmarks/test_shared_machine.py). Whoever sets one of the two variables decides.
    """
    if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "1500"


_bound_waiting()

if not TYPE_CHECKING:  # a checker shall still refuse names that are not there

    def __getattr__(name: str) -> object:
        """The public names, each loaded when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home, there = _HOMES[name]
        value = globals()[name] = getattr(import_module(home), there)
        return value

    def __dir__() -> list[str]:
        """Those of the module, and what was not loaded yet."""
        return sorted({*globals(), *__all__})
