from blending import blend_run

from icecore.ensemble import BlendOptions, render_markdown, write_markdown


def test_it_says_what_the_page_says(run, builders, tmp_path):
    result = blend_run(run, write=False)
    write_markdown(result, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    for words in [
        *builders.models,
        *builders.classes,
        "certificate",
        "recommended",
        "Class by class",
        "samples.csv",
        f"{result.tasks[0].scores['recommended']['test']['accuracy']:.4f}",
    ]:
        assert words in text
    assert "RANDOM" not in text


def test_tables_are_even(run):
    lines = render_markdown(blend_run(run, BlendOptions(honest=False), write=False)).splitlines()
    header = None
    for line in lines:
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = line.count("|")
        assert header is None or line.count("|") == header


def test_names_do_not_become_markup(tmp_path, builders):
    hostile = "<b>[x](http://x)|`*"
    run = builders.run(
        tmp_path / "run", random_weights=True, failures=[{"id": hostile, "reason": hostile}]
    )
    text = render_markdown(blend_run(run, BlendOptions(honest=False), write=False))
    assert "**RANDOM WEIGHTS" in text
    assert hostile not in text
    assert r"&lt;b&gt;\[x\](http://x)\|\`\*" in text
