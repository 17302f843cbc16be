"""The table of samples that extraction keeps in a cache."""

from __future__ import annotations

import os
import types

import pytest
from heads_support import samples

from icecore.core.errors import CacheError
from icecore.jobs.samples import keep_manifest
from icecore.manifest import Manifest


def test_a_folder_that_became_a_link_in_the_middle_of_the_job_is_not_written_through(tmp_path):
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    cache.mkdir()
    elsewhere.mkdir()
    (elsewhere / "photos.csv").write_text("precious", "utf-8")
    (elsewhere / "photos.regions").mkdir()
    os.symlink(elsewhere, cache / "manifests")
    report = types.SimpleNamespace(manifest=Manifest(tuple(samples(4)), "photos"), computed=4)
    with pytest.raises(CacheError, match="manifests is a link; a cache is made of files and"):
        keep_manifest(cache, str(tmp_path / "photos"), report)
    assert sorted(os.listdir(elsewhere)) == ["photos.csv", "photos.regions"]
    assert (elsewhere / "photos.csv").read_text("utf-8") == "precious"
