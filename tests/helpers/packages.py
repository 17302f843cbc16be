"""What of the optional packages loads here: a test that needs one that does not is skipped."""

from __future__ import annotations

import functools
import importlib

import pytest
import torchvision_shim

from icecore.core.errors import IcecoreError
from icecore.core.imports import missing_dependency
from icecore.features.gluon.loader import load_gluoncv, load_mxnet


def _load_timm():
    torchvision_shim.declare_operators()
    importlib.import_module("timm")


_LOADERS = {"mxnet": load_mxnet, "gluoncv": load_gluoncv, "timm": _load_timm}


@functools.cache
def why_not(package: str) -> str:
    """Say why a package does not load on this machine; nothing if it does."""
    load = _LOADERS.get(package, functools.partial(importlib.import_module, package))
    try:
        load()
    except IcecoreError as error:
        return error.message
    except (ImportError, OSError, RuntimeError) as error:
        return missing_dependency(package, error).message
    return ""


def needs(*packages: str) -> pytest.MarkDecorator:
    """Mark a test (or, as `pytestmark`, a module) that needs packages."""
    reasons = [reason for reason in map(why_not, packages) if reason]
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))


def skip_without(*packages: str) -> None:
    """Skip the test that calls this if a package does not load."""
    reasons = [reason for reason in map(why_not, packages) if reason]
    if reasons:
        pytest.skip("; ".join(reasons))


def import_or_skip(package: str):
    """Return a package, or skip the module that calls this, also for want of a system library."""
    if reason := why_not(package):
        pytest.skip(reason, allow_module_level=True)
    return importlib.import_module(package)
