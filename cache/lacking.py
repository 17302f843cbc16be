"""What is said where a cache has no row of what is asked for."""

from collections.abc import Mapping, Sequence

from ..core.errors import CacheError, counted, enumerate_some


def no_rows(what: str, failures: Sequence[Mapping[str, str]], extract: str) -> CacheError:
    """Make the error: to extract again is no help where the images could not be used.

    Parameters
    ----------
    what : str
        Says what is lacking.
    failures : sequence of mapping
        The images of it that the extraction could not use: ``id`` and ``reason``.
    extract : str
        The remedy for all others.
    """
    if not failures:
        return CacheError(what, extract)
    named = enumerate_some(f"{one['id']}: {one['reason']}" for one in failures)
    return CacheError(
        f"{what}; at its extraction {counted(len(failures), 'image')} could not be used ({named})",
        f"mend these images, or take them out of the data; for others, {extract}",
    )
