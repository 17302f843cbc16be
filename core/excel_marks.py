"""The apostrophe before text that a spreadsheet would take for a formula."""

from collections.abc import Container, Sequence

_FORMULA_MARKS = ("=", "+", "-", "@", "\t")


def with_excel_mark(text: str) -> str:
    """Put an apostrophe before text that is like a formula.

    >>> with_excel_mark("=a"), with_excel_mark("'=a"), with_excel_mark("a")
    ("'=a", "''=a", 'a')
    """
    return f"'{text}" if _is_like_a_formula(text) else text


def without_excel_marks(names: Sequence[str], known: Container[str]) -> tuple[str, ...]:
    """Return names of one file without the apostrophes that `with_excel_mark` put before them.

    They are taken off all names if none lacks one and more of them are known without; else off
    a name that is known without alone.

    >>> without_excel_marks(["'=a"], {"=a"}), without_excel_marks(["'=a"], {"'=a", "=a"})
    (('=a',), ("'=a",))
    >>> without_excel_marks(["''=a", "'=a"], {"'=a", "=a"})
    ("'=a", '=a')
    """
    like = {name for name in names if _is_like_a_formula(name)}
    marked = {name for name in like if name.startswith("'")}
    bare = {name for name in marked if name[1:] in known}
    if marked == like and len(bare) > sum(name in known for name in marked):
        taken = marked
    else:
        taken = {name for name in bare if name not in known and name[1:] not in like}
    return tuple(name[1:] if name in taken else name for name in names)


def _is_like_a_formula(text: str) -> bool:
    # One behind an apostrophe, too: that would be read as the mark.
    return text.lstrip("'").startswith(_FORMULA_MARKS)
