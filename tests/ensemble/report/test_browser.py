"""The report in a browser: clicks do what they say, nothing complains, anybody can read it."""

import importlib.util
from pathlib import Path

import browser
import numpy as np
import pytest

from icecore.ensemble import BlendOptions, blend_sources, write_report
from icecore.manifest import Manifest, Sample
from icecore.runs import ProbabilityTable, write_probabilities

pytestmark = pytest.mark.skipif(not browser.CHROMIUM, reason="needs chromium")

CLASSES = 54


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the report of 54 classes and 400 photographs, as pictures of noise, the largest."""
    image = pytest.importorskip("PIL.Image", reason="thumbnails need Pillow")
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    names = tuple(f"class {number:02d}" for number in range(CLASSES))
    y = np.arange(800) % CLASSES
    ids = tuple(f"{number:03d}.jpg" for number in range(len(y)))
    for number in range(20):
        pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        image.fromarray(pixels).resize((300, 200)).save(folder / ids[number])
    for number in range(20, len(ids)):
        (folder / ids[number]).hardlink_to(folder / ids[number % 20])
    paths = []
    for index in range(2):
        logits = rng.normal(size=(len(y), CLASSES)) + 2 * np.eye(CLASSES)[y]
        table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        paths.append(folder / f"model{index}.npz")
        splits = ("validation",) * len(y)
        write_probabilities(paths[-1], ProbabilityTable(ids, names, table, splits, "", "label"))
    samples = (Sample(i, str(folder / i), "validation", "label", names[k]) for i, k in zip(ids, y))
    Manifest(tuple(samples)).write(folder / "labels.csv")
    result = blend_sources(paths, folder / "labels.csv", BlendOptions(honest=False))
    write_report(result, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.open_tab(tmp_path_factory.mktemp("profile")) as found:
        yield found
    assert found.console == []


def column(tab, table, number):
    return tab.run(
        f"[...document.querySelectorAll('{table} tbody tr')].filter(r => !r.hidden)"
        f".map(r => r.cells[{number}].textContent)"
    )


def test_the_page_is_light_though_it_shows_hundreds_of_pictures(page):
    text = page.read_text()
    assert text.count("data:image") >= 250
    assert page.stat().st_size < 3_000_000


def test_a_click_sorts_a_table_and_another_turns_it(page, tab):
    tab.open(page)
    classes = "[data-title=Classes]"
    names = column(tab, classes, 0)
    tab.click(f"{classes} th:nth-child(3) button")
    down = [float(text.rstrip("%")) for text in column(tab, classes, 2)]
    assert down == sorted(down, reverse=True) != sorted(down)
    tab.click(f"{classes} th:nth-child(3) button")
    assert [float(text.rstrip("%")) for text in column(tab, classes, 2)] == down[::-1]
    assert tab.run(f"document.querySelector('{classes} th:nth-child(3)').ariaSort") == "ascending"
    tab.click(f"{classes} th:nth-child(1) button")
    assert column(tab, classes, 0) == names
    assert tab.run(f"document.querySelectorAll('{classes} [aria-sort]').length") == 1


def test_a_cell_of_the_confusion_matrix_opens_its_pictures(page, tab):
    tab.open(page)
    cell = ".confusion a[data-opens]"
    count = int(tab.run(f"document.querySelector('{cell}').textContent"))
    said = tab.run(f"document.querySelector('{cell}').parentElement.title")
    tab.click(cell)
    title = tab.run("document.querySelector('dialog[open] h4').textContent")
    true, predicted = said.split(" of ")[1].split(" taken for ")
    assert title == f"{true} taken for {predicted}: {count}"
    shown = tab.run(
        "[...document.querySelectorAll('dialog[open] img')].map(i => i.complete && i.naturalWidth)"
    )
    assert len(shown) == min(count, 6)
    assert min(shown) > 50
    tab.press("Escape", 27)
    assert tab.run("document.querySelector('dialog')") is None
    assert tab.run(f"document.activeElement === document.querySelector('{cell}')")
    tab.click(cell)
    tab.click("dialog .close")
    assert tab.run("document.querySelector('dialog')") is None


def test_a_filter_leaves_the_classes_that_are_asked_for_and_what_they_are_taken_for(page, tab):
    tab.open(page)
    tab.click("input[data-filter]")
    tab.call("Input.insertText", text="CLASS 07")
    assert column(tab, "[data-title=Classes]", 0) == ["class 07"]
    heads = "[...document.querySelectorAll('.confusion thead th[data-class]')]"
    shown = tab.run(f"{heads}.filter(h => !h.hidden).map(h => h.dataset.class)")
    taken_for = tab.run(
        "[...document.querySelectorAll('.confusion tr[data-class=\"class 07\"] td[title]')]"
        ".map(c => c.title.split('taken for ')[1])"
    )
    assert 1 < len(shown) < CLASSES
    assert set(shown) == {"class 07", *taken_for}
    assert tab.run("document.querySelector('output').value") == f"1 of {CLASSES} classes"
    pairs = column(tab, '[data-title="Most confused classes"]', 0)
    others = column(tab, '[data-title="Most confused classes"]', 1)
    assert all("class 07" in pair for pair in zip(pairs, others))


@pytest.mark.parametrize("width", [1280, 400])
def test_wide_tables_scroll_in_themselves_and_say_so(page, tab, width):
    tab.open(page, width)
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    wide = "document.querySelector('[data-title=\"Confusion matrix\"]')"
    assert tab.run(f"{wide}.classList.contains('scrolls') && {wide}.tabIndex === 0")
    assert "scroll" in tab.run(f"getComputedStyle({wide}, '::before').content")


def test_it_prints_whole_in_black_on_white(page, tab):
    tab.open(page, dark=True)
    dark = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.call("Emulation.setEmulatedMedia", media="print",
             features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    assert (
        dark != tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert tab.run("getComputedStyle(document.querySelector('.wide')).maxHeight") == "none"
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("[...document.querySelectorAll('details')].every(d => d.open)")
    tab.call("Emulation.setEmulatedMedia", media="")


def test_a_script_of_somebody_else_does_not_run(page, tab, tmp_path):
    text = page.read_text().replace("</h1>", "</h1><script>document.title = 'owned'</script>", 1)
    (tmp_path / "changed.html").write_text(text)
    tab.open(tmp_path / "changed.html")
    assert tab.run("document.title") == "model0.npz + model1.npz + labels.csv: icecore report"
    assert "Content Security Policy" in tab.console.pop()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page, tab, dark):
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("needs axe-core: pip install --no-deps axe-playwright-python")
    tab.open(page, dark=dark)
    tab.run((Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8") + "; null")
    only = "runOnly: ['color-contrast']" if dark else ""
    left_out = "exclude: [['tbody tr:nth-child(n+4)'], ['details'], ['.confusion thead']]"
    answer = tab.run(
        f"axe.run({{{left_out}}}, {{{only}}})"
        ".then(r => r.violations.map(v => [v.id, v.nodes[0].html, v.nodes[0].failureSummary]))"
    )
    assert answer == []
