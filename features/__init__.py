"""Images and networks -> feature rows in the cache.

The only room that knows images and networks. Importing it loads neither MXNet
nor ONNX Runtime nor OpenCV; each is imported by the step that needs it.
"""

from .backbones import Backbone, load_backbone, load_backbones
from .bundle import BundledHead, BundledTask, build_bundle
from .catalogue import Verified, find_networks, list_layers, verify_backbones
from .detection.detect import DetectorOptions, box_locator
from .extraction.extract import ExtractReport, Failure, extract
from .extraction.progress import Progress
from .images.decode import image_size
from .images.views import Views
from .records.layer import POOLS, Layer
from .records.record import BackboneRecord, feature_set_record
from .records.spec import BackboneSpec
from .weights.request import WeightsRequest

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
