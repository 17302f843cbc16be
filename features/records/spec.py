"""What a user writes to name a backbone: ``source:name[@resolution]``."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Self

from ...core.errors import BackboneError
from ..images.preprocessing import LARGEST_RESOLUTION
from .layer import BEFORE_CLASSIFIER, Layer

SOURCES = ("gluon", "mxnet", "gluon-file", "onnx", "timm")

# Their names are paths.
OF_FILES = ("gluon-file", "onnx")


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """A parsed spec.

    Attributes
    ----------
    source : str
        One of `SOURCES`: ``gluon`` is GluonCV's zoo, ``mxnet`` MXNet's own.
    name : str
        Name in the model zoo, or path of the file or the prefix of the files.
    resolution : int or None
        Input side in pixels, where it shall differ from the native one.
    layer : Layer
        Where features are taken; what is behind the ``#`` of a text.
    """

    source: str
    name: str
    resolution: int | None = None
    layer: Layer = BEFORE_CLASSIFIER

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``source:name[@resolution][#layer=LAYER][,pool=POOL]``.

        >>> BackboneSpec.parse("timm:vit_small_patch14_dinov2#layer=tokens:last-4").layer.blocks
        4

        Raises
        ------
        BackboneError
            The text is not a spec.
        """
        own = re.fullmatch(r"(.*?)#(?:layer=([^,]+))?,?(?:pool=([^,]+))?", text.strip())
        plain, name, pool = own.groups() if own and (own[2] or own[3]) else (text, None, None)
        layer = Layer(name, pool or "avg")
        match = re.fullmatch(r"([a-z-]+):(.+?)(?:@(\d+))?", plain.strip())
        if match is None or match[1] not in SOURCES:
            raise BackboneError(
                f"'{text}' is not a backbone spec",
                "write gluon:NAME[@RESOLUTION], mxnet:NAME, timm:NAME, onnx:FILE or "
                "gluon-file:PREFIX, for instance gluon:inceptionv3 or "
                "onnx:models/efficientnet_lite0.onnx",
            )
        resolution = int(match[3]) if match[3] else None
        if resolution is not None and not 16 <= resolution <= LARGEST_RESOLUTION:
            raise BackboneError(
                f"'{text}' asks for a resolution of {resolution} pixels",
                f"give one between 16 and {LARGEST_RESOLUTION}",
            )
        return cls(match[1], match[2], resolution, layer)

    @classmethod
    def located(cls, source: str, canonical: str, folder: str | os.PathLike | None) -> Self:
        """Return the spec that finds a backbone again: its file may be in `folder` now.

        Parameters
        ----------
        source : str
            The spec by which it was found.
        canonical : str
            Its name in the cache.
        """
        if folder is not None and canonical.startswith("onnx:"):
            name, _, resolution = canonical.removeprefix("onnx:").partition("@")
            if (Path(folder) / name).is_file():
                source = f"onnx:{Path(folder) / name}" + (f"@{resolution}" if resolution else "")
        return cls.parse(source)

    @property
    def text(self) -> str:
        """What `parse` takes."""
        return f"{self.source}:{self.name}" + (f"@{self.resolution}" if self.resolution else "")

    @property
    def canonical(self) -> str:
        """The name that the cache keeps: files lose their folder, so they can be moved."""
        name = Path(self.name).name if self.source in OF_FILES else self.name
        return dataclasses.replace(self, name=name).text
