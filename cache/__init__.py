"""The feature cache: rows in, immutable shards on disk, matrices out.

It knows nothing about images, networks or labels: a row is numbers under a key.
"""

from .describe import diff_sets, list_sets, show_set
from .export import EXPORT_KINDS, export, export_arrays
from .featurecache import FeatureCache
from .featureset import FeatureSet
from .merge import merge
from .record import canonical_json, differences, fingerprint
from .repair import repair
from .rewrite import compact, prune
from .shard import FORMAT
from .verify import verify

__all__ = [
    "EXPORT_KINDS",
    "FORMAT",
    "FeatureCache",
    "FeatureSet",
    "canonical_json",
    "compact",
    "diff_sets",
    "differences",
    "export",
    "export_arrays",
    "fingerprint",
    "list_sets",
    "merge",
    "prune",
    "repair",
    "show_set",
    "verify",
]
