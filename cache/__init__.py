"""The feature cache: rows in, immutable shards on disk, matrices out.

It knows nothing about images, networks or labels: a row is numbers under a key.
"""

from .featurecache import FeatureCache
from .featureset import FeatureSet
from .format.disk import require_own_folder
from .format.shard import FORMAT
from .lacking import no_rows
from .reading import Readers, readers
from .record import canonical_json, differences, fingerprint, has_random_weights
from .sharing.share import Lists
from .upkeep.describe import diff_sets, list_sets, show_set
from .upkeep.export import export, require_all_rows
from .upkeep.merge import merge
from .upkeep.mirror import pull, push
from .upkeep.repair import repair
from .upkeep.rewrite import compact, prune
from .upkeep.stored import existing_cache, folder_of_cache, pulled, writable_cache
from .upkeep.tables import SOURCES_NAME, TABLES_NAME, names_beside
from .upkeep.verify import verify

__all__ = [
    "FORMAT",
    "FeatureCache",
    "FeatureSet",
    "Lists",
    "Readers",
    "SOURCES_NAME",
    "TABLES_NAME",
    "canonical_json",
    "compact",
    "diff_sets",
    "differences",
    "existing_cache",
    "export",
    "fingerprint",
    "folder_of_cache",
    "has_random_weights",
    "list_sets",
    "merge",
    "names_beside",
    "no_rows",
    "prune",
    "pull",
    "pulled",
    "push",
    "readers",
    "repair",
    "require_all_rows",
    "require_own_folder",
    "show_set",
    "verify",
    "writable_cache",
]
