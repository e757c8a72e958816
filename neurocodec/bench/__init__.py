"""Measure the models against other codecs: `rivals`, `protocols` (what is measured, and how), `report`, `run`."""

import importlib
from types import ModuleType

from neurocodec.errors import NeurocodecError


def extra(module: str) -> ModuleType:
    """A module that only the bench extra brings. Raises NeurocodecError when it is not here."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        raise NeurocodecError(f"{package} is not here: pip install neurocodec[bench]") from None
