"""Everything that makes a backbone's features what they are, under the field names of timm."""

import dataclasses
from collections.abc import Mapping
from typing import Self

from ..images.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class BackboneRecord:
    """Everything that makes a backbone's features what they are.

    Attributes
    ----------
    spec : str
        Canonical spec.
    architecture : str
        Name of the network.
    weights_digest : str
        SHA-256 of the weights.
    random_seed : int or None
        Seed of a network whose weights are random numbers, so that it knows nothing.
    num_features : int
        Length of a feature row.
    preprocessing : Preprocessing
    """

    spec: str
    architecture: str
    weights_digest: str
    random_seed: int | None
    num_features: int
    preprocessing: Preprocessing

    def as_dict(self) -> dict:
        """Return the record as JSON types."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"preprocessing": self.preprocessing.as_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping) -> Self:
        """Rebuild a record from `as_dict`; KeyError or TypeError if the fields are others."""
        how = Preprocessing.from_dict(fields["preprocessing"])
        return cls(**{**fields, "preprocessing": how})

    @property
    def resolution(self) -> int:
        """Side of the square input, pixels."""
        return self.preprocessing.resolution

    @property
    def is_random(self) -> bool:
        """Whether the network's weights are random numbers."""
        return self.random_seed is not None

    @property
    def weights(self) -> str:
        """What to give to ``--weights`` for this network: ``pretrained`` or ``random:SEED``."""
        return "pretrained" if self.random_seed is None else f"random:{self.random_seed}"
