"""Images and networks -> feature rows in the cache.

The only room that knows images and networks. Importing it loads neither MXNet
nor ONNX Runtime nor OpenCV; each is imported by the step that needs it.
"""

from .backbones import load_backbone, load_backbones
from .bundle import BundledHead, BundledTask, build_bundle, run_bundle, write_trial_images
from .catalogue import (
    find_networks,
    list_layers,
    search_networks,
    verify_backbones,
    weights_from,
)
from .costs import feature_set_cost
from .detection.detect import DetectorOptions
from .engines.choose import ENGINES, engines_for
from .engines.gpus import find_gpus, gpu_files
from .engines.proof import ERROR_ALLOWED
from .extraction.extract import extract
from .extraction.options import ClusterOptions, ExtractOptions
from .extraction.progress import ProgressListener
from .extraction.report import ExtractReport
from .gluon.library import check_library
from .graphs.store import graph_folder
from .images.decode import image_fault, image_size
from .images.encode import write_png
from .images.views import Views
from .probe import ask
from .records.feature_set import FeatureSetRecord
from .records.layer import Layer
from .records.spec import BackboneSpec
from .regions.fit import Fitted, fit_regions, region_name
from .regions.learn import LearningOptions
from .regions.looks import LookOptions
from .regions.saved import FILES as REGION_FILES
from .regions.saved import are_regions, read_regions, write_regions
from .weights.request import WeightsRequest
from .weights_store import (
    fetch_weights,
    import_weights,
    list_weights,
    require_networks,
    where_to_put_weights,
)

__all__ = [
    "BackboneSpec",
    "BundledHead",
    "BundledTask",
    "ClusterOptions",
    "DetectorOptions",
    "ENGINES",
    "ERROR_ALLOWED",
    "ExtractOptions",
    "ExtractReport",
    "FeatureSetRecord",
    "Fitted",
    "Layer",
    "LearningOptions",
    "LookOptions",
    "ProgressListener",
    "REGION_FILES",
    "Views",
    "WeightsRequest",
    "are_regions",
    "ask",
    "build_bundle",
    "check_library",
    "engines_for",
    "extract",
    "feature_set_cost",
    "fetch_weights",
    "find_gpus",
    "find_networks",
    "fit_regions",
    "gpu_files",
    "graph_folder",
    "image_fault",
    "image_size",
    "import_weights",
    "list_layers",
    "list_weights",
    "load_backbone",
    "load_backbones",
    "read_regions",
    "region_name",
    "require_networks",
    "run_bundle",
    "search_networks",
    "verify_backbones",
    "weights_from",
    "where_to_put_weights",
    "write_png",
    "write_regions",
    "write_trial_images",
]
