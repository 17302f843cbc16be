"""The feature cache: rows in, immutable shards on disk, matrices out.

It knows nothing about images, networks or labels: a row is numbers under a key.
"""

from .describe import diff_sets, list_sets, show_set
from .featurecache import FeatureCache
from .featureset import FeatureSet
from .record import canonical_json, differences, fingerprint
from .shard import FORMAT

__all__ = ["FORMAT", "FeatureCache", "FeatureSet", "canonical_json", "diff_sets"]
__all__ += ["differences", "fingerprint", "list_sets", "show_set"]
