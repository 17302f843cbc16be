"""No model.txt ends the process: it is understood, or refused with a reason."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from packages import import_or_skip

from icecore.heads.kinds import lightgbm_text
from icecore.heads.kinds.lightgbm_text import checked_model

lightgbm = import_or_skip("lightgbm")


def booster(classes: int, rounds: int = 3, leaves: int = 4):
    rng = np.random.default_rng(classes)
    X = rng.normal(size=(300, 5))
    y = (X @ rng.normal(size=(5, classes))).argmax(axis=1)
    objective = {"objective": "binary"}
    if classes > 2:
        objective = {"objective": "multiclass", "num_class": classes}
    options = {"verbosity": -1, "num_leaves": leaves, "min_data_in_leaf": 5}
    return lightgbm.train(objective | options, lightgbm.Dataset(X, y), rounds), X


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("leaves", [2, 4, 31])
def test_what_lightgbm_writes_is_understood_and_answers_the_same(classes, leaves):
    model, X = booster(classes, leaves=leaves)
    again = lightgbm.Booster(model_str=checked_model(model.model_to_string()))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.num_model_per_iteration() == model.num_model_per_iteration()


def test_trees_without_splits_are_understood():
    data = lightgbm.Dataset(np.zeros((20, 3)), np.arange(20) % 2)
    model = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 2)
    again = lightgbm.Booster(model_str=checked_model(model.model_to_string()))
    np.testing.assert_array_equal(again.predict(np.zeros((1, 3))), model.predict(np.zeros((1, 3))))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_leaves=4", "num_leaves=1000000000", "not a number from 1"),
        ("num_leaves=4", "num_leaves=5", "are not 4 numbers"),
        ("num_leaves=4", "num_leaves=0", "not a number from 1"),
        ("num_leaves=4", "num_leaves=-", "not a number from 1"),
        ("num_cat=0", "num_cat=1", "num_cat"),
        ("is_linear=0", "is_linear=1", "is_linear"),
        ("version=v4", "version=v9", "version"),
        ("num_class=3", "num_class=9", "objective is|num_tree_per_iteration"),
        ("max_feature_idx=4", "max_feature_idx=9", "are not 10"),
        ("objective=multi", "objective=multy", "objective"),
        ("Tree=1", "Tree=7", "tree 1 is not where"),
        ("end of trees", "end of threes", "cut short"),
        ("shrinkage=1\n", "shrinkage=1\nleaf_vector=1\n", "has the line"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(old, new, said):
    text = booster(3)[0].model_to_string()
    assert old in text
    size = re.search(r"tree_sizes=(\d+)", text)
    if text.index(old) > text.index("Tree=0") and old != "Tree=1":
        fits = int(size[1]) + len(new) - len(old)
        text = text.replace(size[0], f"tree_sizes={fits}", 1)
    with pytest.raises(ValueError, match=said):
        checked_model(text.replace(old, new, 1))


def resized(text: str, name: str, change) -> str:
    """Change an array of the first tree, with sizes that fit again."""
    line = next(one for one in text.split("\n") if one.startswith(f"{name}="))
    new = f"{name}={change(line.partition('=')[2])}"
    sizes = next(one for one in text.split("\n") if one.startswith("tree_sizes="))
    first, _, others = sizes.partition("=")[2].partition(" ")
    fitting = f"tree_sizes={int(first) + len(new) - len(line)} {others}"
    return text.replace(line, new, 1).replace(sizes, fitting, 1)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("num_leaves", lambda v: "1000000000", "not a number from 1"),
        ("leaf_value", lambda v: "nan " + v.split(" ", 1)[1], "leaf_value of tree 0"),
        ("leaf_value", lambda v: "inf " + v.split(" ", 1)[1], "leaf_value of tree 0"),
        ("leaf_value", lambda v: "1e999 " + v.split(" ", 1)[1], "are not finite"),
        ("leaf_value", lambda v: v + " 1", "are not 4 numbers"),
        ("threshold", lambda v: "0x1 " + v.split(" ", 1)[1], "threshold of tree 0"),
        ("split_feature", lambda v: "5 " + v.split(" ", 1)[1], "a feature that there is not"),
        ("split_feature", lambda v: "-1 " + v.split(" ", 1)[1], "a feature that there is not"),
        ("decision_type", lambda v: "1 " + v.split(" ", 1)[1], "another kind"),
        ("left_child", lambda v: "0 " + v.split(" ", 1)[1], "are no tree"),
        ("left_child", lambda v: "-99 " + v.split(" ", 1)[1], "are no tree"),
        ("right_child", lambda v: "99999999999999999999 " + v.split(" ", 1)[1], "not numbers"),
    ],
)
def test_trees_that_are_none_are_refused(name, change, said):
    text = booster(3)[0].model_to_string()
    with pytest.raises(ValueError, match=said):
        checked_model(resized(text, name, change))


@pytest.mark.parametrize("place", ["Tree=0\n", "num_cat=0\n", "shrinkage=1\n", "\n\n\nTree=1"])
def test_a_blank_line_more_is_refused(place):
    # It ends the process, with sizes that fit too.
    text = booster(3)[0].model_to_string()
    size = re.search(r"tree_sizes=(\d+)", text)
    text = text.replace(size[0], f"tree_sizes={int(size[1]) + 1}", 1)
    new = place.replace("\n\n\n", "\n\n\n\n") if "Tree=1" in place else place + "\n"
    with pytest.raises(ValueError, match="has the line ''"):
        checked_model(text.replace(place, new, 1))


def test_lines_behind_the_trees_are_not_handed_on():
    # One of importances among the parameters ends the process two times of three.
    text = booster(3)[0].model_to_string()
    assert "[drop_rate: " in text
    mixed = text.replace("[drop_rate: ", "Column_2=5\n[drop_rate: ", 1)
    handed = checked_model(mixed)
    assert handed == checked_model(text)
    assert "Column_2=5\n" not in handed
    assert "[" not in handed.partition("end of trees")[2]


FUZZ = """
import random, sys
import lightgbm
from icecore.heads.kinds import lightgbm_text
from icecore.heads.kinds.lightgbm_text import checked_model
text, rng = open(sys.argv[1]).read(), random.Random(int(sys.argv[2]))
words = ["-1", "0", "1e308", "nan", "999999999", "", " ", "\\n", "=", "Tree=0", "-99", "2147483648"]
held = refused = 0
for number in range(int(sys.argv[3])):
    new = text
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(new))
        kind = rng.randrange(4)
        if kind == 0:
            new = new[:at] + rng.choice(words) + new[at + rng.randint(0, 6):]
        elif kind == 1:
            new = new[:at] + new[at + rng.randint(1, 40):]
        elif kind == 2:
            lines = new.split("\\n")
            line = rng.randrange(len(lines))
            lines[line] = lines[line].partition("=")[0] + "=" + rng.choice(words)
            new = "\\n".join(lines)
        else:
            new = new[:at] + new[at : at + rng.randint(1, 60)] + new[at:]
    open(sys.argv[4], "w").write(new)
    try:
        model = lightgbm.Booster(model_str=checked_model(new))
    except (ValueError, lightgbm.basic.LightGBMError):
        refused += 1
        continue
    model.predict([[0.0] * 5])
    held += 1
print(held, refused)
"""


def test_whatever_is_changed_the_process_lives(tmp_path):
    (tmp_path / "model.txt").write_text(booster(3)[0].model_to_string())
    arguments = [tmp_path / "model.txt", "1", "800", tmp_path / "last.txt"]
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stderr[-1500:], (tmp_path / "last.txt").read_text()[:3000])
    held, refused = map(int, done.stdout.split()[-2:])
    print(f"tried {held + refused}, understood {held}, refused {refused}, faults 0")
    assert refused > 300


def test_leaves_whose_sum_is_no_number_are_refused():
    model, _ = booster(3)
    text = model.model_to_string()
    (first, *_), (size, *_) = (
        re.findall(r"leaf_value=.*", text),
        re.findall(r"tree_sizes=(\d+)", text),
    )
    huge = "leaf_value=1e308 1e308 1e308 1e308"
    text = text.replace(first, huge, 1)
    text = text.replace(f"tree_sizes={size}", f"tree_sizes={int(size) + len(huge) - len(first)}")
    with pytest.raises(ValueError, match=r"leaf_value of tree 0 goes beyond 1e\+15"):
        checked_model(text)


def test_forests_that_take_minutes_to_look_through_are_refused(monkeypatch):
    # 300 trees of 60,000 leaves each, a chain, took more than a minute.
    text = booster(3)[0].model_to_string()
    many = re.sub(r"tree_sizes=.*", "tree_sizes=" + " ".join(["9"] * 3 * 2**17), text)
    with pytest.raises(ValueError, match="it has 393216 trees, more than 262144"):
        checked_model(many)
    leaves = text.count("Tree=") * 4
    monkeypatch.setattr(lightgbm_text, "_MOST_LEAVES_IN_ALL", leaves)
    assert checked_model(text)
    monkeypatch.setattr(lightgbm_text, "_MOST_LEAVES_IN_ALL", leaves - 1)
    with pytest.raises(ValueError, match=f"more than {leaves - 1} leaves"):
        checked_model(text)
