"""What users bring, as one table of samples."""

from .box import Box, outside, parse_box, row_key
from .box_table import append_as_found, apply_boxes, read_boxes
from .classes import fashionai_classes, is_fashionai_header
from .containers import Unread
from .csv_table import TableOptions
from .digest_memory import DigestMemory
from .digests import Digesting, DigestReport, digest_manifest
from .group_table import apply_groups
from .layouts import UNLABELLED, open_data, read
from .listing import passed_over_text
from .misspelt import meant_files
from .names import class_name, look_alike_notes
from .streams import USUAL_SIZE, StreamDigesting, read_remembered, read_unread
from .table import (
    DEFAULT_TASK,
    IMAGE_SUFFIXES,
    LARGEST_IMAGE_FILE,
    Manifest,
    Sample,
    split_name,
)

__all__ = [
    "DEFAULT_TASK",
    "IMAGE_SUFFIXES",
    "LARGEST_IMAGE_FILE",
    "Box",
    "DigestMemory",
    "DigestReport",
    "Digesting",
    "Manifest",
    "Sample",
    "StreamDigesting",
    "TableOptions",
    "UNLABELLED",
    "USUAL_SIZE",
    "Unread",
    "append_as_found",
    "apply_boxes",
    "apply_groups",
    "class_name",
    "digest_manifest",
    "fashionai_classes",
    "is_fashionai_header",
    "look_alike_notes",
    "meant_files",
    "open_data",
    "outside",
    "parse_box",
    "passed_over_text",
    "read",
    "read_boxes",
    "read_remembered",
    "read_unread",
    "row_key",
    "split_name",
]
