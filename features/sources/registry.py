"""Where backbones come from: the sources that a spec may name.

A source turns a spec into a proved feature graph, and, where the network is
one of Gluon's, into the Gluon network itself. What runs either is an engine.
"""

from ..records.spec import BackboneSpec
from .base import Source
from .gluon import GluonCVSource, MXNetSource
from .gluon_file import GluonFileSource
from .onnx_file import OnnxFileSource
from .timm import TimmSource

_ALL: tuple[Source, ...] = (
    GluonCVSource(),
    MXNetSource(),
    GluonFileSource(),
    OnnxFileSource(),
    TimmSource(),
)
SOURCES = {source.name: source for source in _ALL}


def source_of(spec: BackboneSpec) -> Source:
    """Return the source that `spec` names."""
    return SOURCES[spec.source]
