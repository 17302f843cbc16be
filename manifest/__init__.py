"""What users bring, as one table of samples."""

from .box import Box, format_box, outside, parse_box, row_key
from .box_table import append_boxes, apply_boxes, read_boxes
from .digests import DigestReport, digest_manifest
from .fashionai import fashionai_classes
from .layouts import read
from .names import class_name, class_order
from .table import COLUMNS, DEFAULT_TASK, IMAGE_SUFFIXES, Manifest, Sample, split_name

__all__ = [
    "COLUMNS",
    "DEFAULT_TASK",
    "IMAGE_SUFFIXES",
    "Box",
    "DigestReport",
    "Manifest",
    "Sample",
    "append_boxes",
    "apply_boxes",
    "class_name",
    "class_order",
    "digest_manifest",
    "fashionai_classes",
    "format_box",
    "outside",
    "parse_box",
    "read",
    "read_boxes",
    "row_key",
    "split_name",
]
