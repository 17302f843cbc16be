"""What an audit looks at, as one value."""

import dataclasses

from ..core.arguments import require_types
from ..core.errors import RunError


@dataclasses.dataclass(frozen=True)
class AuditOptions:
    """How closely to look.

    Attributes
    ----------
    features : tuple of str
        Feature sets of the cache; those of the run, or all of the cache, if none is named.
    similarity : float
        Pairs of images are looked at more closely from this cosine of whitened features on.
        docs/audit.md says what was measured.
    agreement : float
        Two pictures are copies of one photograph from this correlation of their fine
        structure on.
    pictures : int
        Open at most this many image files to learn about brightness, size and the like.
    seed : int
        Seed for folds, samples and draws.
    """

    features: tuple[str, ...] = ()
    similarity: float = 0.5
    agreement: float = 0.65
    pictures: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        object.__setattr__(self, "features", tuple(self.features))
        faults = [
            f"{name} is {value}, not between 0 and 1"
            for name in ("similarity", "agreement")
            if not 0 < (value := getattr(self, name)) <= 1
        ]
        if not 0 <= self.seed < 2**31:
            faults.append(f"seed is {self.seed}, not 0 or more and below 2**31")
        if self.pictures < 0:
            faults.append(f"pictures is {self.pictures}, less than 0")
        if faults:
            defaults = ", ".join(
                f"{one.name} {one.default}" for one in dataclasses.fields(self)[1:]
            )
            raise RunError("; ".join(faults), f"the defaults are {defaults}")
