"""What a layout is: one way in which image classification data comes."""

import abc
import dataclasses

from .listing import NOT_NAMED, Listing
from .table import Manifest, Sample


@dataclasses.dataclass(frozen=True)
class LabelledFiles:
    """What a layout makes of a folder.

    Attributes
    ----------
    tables : frozenset of str
        Files that were read as tables, seen from the folder.
    warnings : tuple of str
        What a reader should know.
    passed_over : tuple of (str, str)
        What lies in those files and is no sample, each with the reason.
    """

    samples: list[Sample]
    tables: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()

    def manifest(self, listing: Listing) -> Manifest:
        """Return the manifest, with every file that is neither a sample nor a table."""
        used = {sample.path for sample in self.samples}
        root = str(listing.root)
        unused = [(name, NOT_NAMED) for name in listing.images if f"{root}/{name}" not in used]
        others = [entry for entry in listing.others if entry[0] not in self.tables]
        return Manifest(
            tuple(self.samples),
            root,
            passed_over=(*others, *unused, *self.passed_over),
            warnings=self.warnings,
        )


class Layout(abc.ABC):
    """One way in which data lies in a folder; the first that fits reads it."""

    name: str

    @abc.abstractmethod
    def fits(self, listing: Listing) -> bool:
        """Tell whether the folder is of this layout."""

    @abc.abstractmethod
    def read(self, listing: Listing) -> LabelledFiles:
        """Read samples and their labels.

        Raises
        ------
        ManifestError
            Labels and images do not fit together; everything of one kind that is wrong is
            named at once.
        """
