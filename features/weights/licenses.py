"""Under which licence weights are published, and what has to be said of it at their first use."""

import re

# Names as the hub and timm write them; what these allow is well known.
_OPEN = frozenset(
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc-by-4.0 cc-by-sa-4.0 cc0-1.0 isc unlicense".split()
)
_NON_COMMERCIAL = re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial|research-only", re.IGNORECASE)


def license_note(spec: str, name: str) -> str:
    """Return what a user should know of the licence of a network's weights; empty if nothing.

    >>> license_note("timm:vit", "cc-by-nc-4.0")
    'timm:vit: its weights are published under cc-by-nc-4.0, which allows no commercial use'
    """
    if not name or name.lower() in _OPEN:
        return ""
    if _NON_COMMERCIAL.search(name):
        return f"{spec}: its weights are published under {name}, which allows no commercial use"
    return (
        f"{spec}: its weights are published under a licence of their own, {name}: see on their "
        "page what it allows"
    )
