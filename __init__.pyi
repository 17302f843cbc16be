"""The public names with their types; see ``__init__.py``."""

from .cache import FeatureCache as FeatureCache
from .ensemble import BlendOptions as BlendOptions
from .features import DetectorOptions as DetectorOptions
from .features import ExtractOptions as ExtractOptions
from .features import ProgressListener as ProgressListener
from .heads import TrainOptions as TrainOptions
from .jobs import blend as blend
from .jobs import bundle as bundle
from .jobs import extract as extract
from .jobs import predict as predict
from .jobs import train as train

__version__: str
