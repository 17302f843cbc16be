"""Names and tables from data in texts: for terminals, and for programs that read Markdown."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from .errors import escaped

_MARKUP = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*_[]|#"}, "<": "&lt;", ">": "&gt;"})


def aligned(lines: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return a line of text for each line of cells, columns of one width.

    >>> aligned([["model", "rows"], ["a", "10"]], right={1})
    ['model  rows', 'a        10']
    """
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    ]


def in_blocks(
    lines: Sequence[Sequence[str]], right: Collection[int] = (), keys: int = 1, width: int = 0
) -> list[str]:
    """Align a table; where it is wider than `width`, set its columns below one another.

    A column that is too wide even so becomes a sentence for each row, which may be broken.

    Parameters
    ----------
    keys : int, default 1
        So many columns, which name the rows, stand in each block.
    width : int, default 0
        Of the terminal; any is wide enough if it is not known.

    >>> in_blocks([["model", "rows", "loss"], ["a", "10", "0.5"]], width=12)
    ['model  rows', 'a      10', '', 'model  loss', 'a      0.5']
    >>> in_blocks([["model", "about"], ["a", "a long word"], ["b", ""]], width=12)
    ['about', 'a: a long word']
    """
    widths = [max(map(len, column)) + 2 for column in zip(*lines)]
    blocks: list[list[int]] = []
    for at in range(keys, len(lines[0])):
        if blocks and (not width or sum(widths[i] for i in [*blocks[-1], at]) - 2 <= width):
            blocks[-1].append(at)
        else:
            blocks.append([*range(keys), at])
    texts = []
    for block in blocks:
        cells = [[line[at] for at in block] for line in lines]
        text = aligned(cells, [place for place, at in enumerate(block) if at in right])
        if width and len(block) == keys + 1 and max(map(len, text)) > width:
            named = [(" ".join(filter(None, names)), cell) for *names, cell in cells[1:]]
            text = [cells[0][-1], *(f"{name}: {cell}" for name, cell in named if cell)]
        texts.append(text)
    return [line for number, text in enumerate(texts) for line in [""] * bool(number) + text]


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, sorted.

    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)


def markdown(text: str) -> str:
    """Keep names from data from becoming markup, in Markdown or in HTML made of it.

    >>> markdown("a_b <c>")
    'a\\\\_b &lt;c&gt;'
    """
    return escaped(" ".join(text.split())).translate(_MARKUP)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table, an empty one at its end; names in it are escaped.

    >>> markdown_table(["class", "rows"], [["a|b", 3]])
    ['| class | rows |', '|---|---|', '| a\\\\|b | 3 |', '']
    """
    lines = [[markdown(str(cell)) for cell in line] for line in (head, *rows)]
    texts = ["| " + " | ".join(line) + " |" for line in lines]
    return [texts[0], "|" + "---|" * len(head), *texts[1:], ""]
