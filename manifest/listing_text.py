"""What lies in a container, as one line of text: compressed JSON in base64."""

import base64
import binascii
import json
import zlib

from ..core.errors import FileFormatError
from ..core.json_files import parse_json
from ..core.places import bytes_place, part_of
from .layout import LabelledFiles
from .table import Sample

# Of some million images, unpacked.
_LARGEST, _LARGEST_FILE = 2**28, 2**63
_START = "listing:"


def is_listing(text: str) -> bool:
    """Tell whether a text is one that `packed` may have made."""
    return text.startswith(_START)


def packed(part: LabelledFiles) -> str:
    """Write what lies in a container as a text without spaces."""
    samples = [[one.id, *part_of(one.path), one.label] for one in part.samples]
    fields = {"samples": samples, "warnings": part.warnings, "passed_over": part.passed_over}
    content = json.dumps(fields, separators=(",", ":")).encode()
    return _START + base64.b64encode(zlib.compress(content)).decode()


def unpacked(text: str, container: str) -> LabelledFiles | None:
    """Read what lies in a container; None if the text does not say it."""
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(text.removeprefix(_START)), _LARGEST)
        if not unpacking.eof:
            return None
        fields = parse_json(content, container)
        samples = [
            Sample(str(identity), _place(container, start, size), label=str(label))
            for identity, start, size, label in fields["samples"]
        ]
        warnings = tuple(map(str, fields["warnings"]))
        passed_over = tuple((str(name), str(why)) for name, why in fields["passed_over"])
    except (FileFormatError, binascii.Error, zlib.error, KeyError, TypeError, ValueError):
        return None
    return LabelledFiles(samples, warnings=warnings, passed_over=passed_over)


def _place(container: str, start: int, size: int) -> str:
    if not (0 <= start <= start + size < _LARGEST_FILE and size > 0):
        raise ValueError(f"no bytes of a file: {start}, {size}")
    return bytes_place(container, int(start), int(size))
