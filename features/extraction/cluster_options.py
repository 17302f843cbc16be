"""Where and with how many processes a Ray cluster computes."""

import dataclasses

from ...core.errors import BackboneError


@dataclasses.dataclass(frozen=True)
class ClusterOptions:
    """Where to compute with Ray.

    Attributes
    ----------
    address : str
        ``local`` for processes on this machine, ``auto`` for the cluster that this machine is in,
        or what ``ray start`` printed.
    least, most : int
        How many processes compute. One needs a GPU each with ``--device cuda:0``, else `cpus`.
    cpus : int
        Processors of each process.

    Raises
    ------
    BackboneError
        The numbers do not fit together.
    """

    address: str = "local"
    least: int = 1
    most: int = 1
    cpus: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most or self.cpus < 1:
            raise BackboneError(
                f"{self.least} to {self.most} Ray workers with {self.cpus} processors each",
                "give --ray-workers MIN:MAX, both 1 or more",
            )
