"""Images and networks -> feature rows in the cache.

The only room that knows images and networks. Importing it loads neither MXNet
nor ONNX Runtime nor OpenCV; each is imported by the step that needs it.
"""

from .backbones import Backbone, load_backbone, load_backbones
from .bundle import BundledHead, BundledTask, build_bundle
from .catalogue import Verified, find_networks, list_layers, verify_backbones
from .detect import DetectorOptions, box_locator
from .extract import ExtractReport, Failure, extract
from .images import image_size
from .layer import POOLS, Layer
from .progress import Progress
from .record import BackboneRecord, BackboneSpec, feature_set_record
from .views import Views
from .weights import WeightsRequest

__all__ = [
    "Backbone",
    "BackboneRecord",
    "BackboneSpec",
    "BundledHead",
    "BundledTask",
    "DetectorOptions",
    "ExtractReport",
    "Failure",
    "Layer",
    "POOLS",
    "Progress",
    "Verified",
    "Views",
    "WeightsRequest",
    "box_locator",
    "build_bundle",
    "find_networks",
    "list_layers",
    "verify_backbones",
    "extract",
    "feature_set_record",
    "image_size",
    "load_backbone",
    "load_backbones",
]
