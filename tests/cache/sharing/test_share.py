"""Lists of missing rows that are dealt out ahead of those still being computed."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from icecore.cache import FeatureCache, Lists
from icecore.cache.sharing import claims as claims_module
from icecore.cache.sharing.claims import Claims
from icecore.cache.sharing.share import share

DIM = 3


def test_a_claim_that_sftp_refuses_is_taken_and_no_error(tmp_path, make, monkeypatch):
    """SFTP has no word for a file that exists: sshfs says EPERM."""

    def as_sftp(real):
        def call(*arguments, **options):
            try:
                return real(*arguments, **options)
            except FileExistsError as error:
                raise PermissionError(errno.EPERM, "Operation not permitted") from error

        return call

    monkeypatch.setattr(os, "open", as_sftp(os.open))
    monkeypatch.setattr(os, "link", as_sftp(os.link))
    with Claims(tmp_path) as ours, Claims(tmp_path) as theirs:
        assert ours.acquire(["a"])
        assert not theirs.acquire(["a"])
        ours.release(["a"])
        assert theirs.acquire(["a"])
        # That there is no permission at all is still said.
        monkeypatch.setattr(claims_module, "_PAUSE_S", 0)

        def refuse(path, *_):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", refuse)
        monkeypatch.setattr(os, "link", refuse)
        with pytest.raises(PermissionError):
            ours.acquire(["b"])


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_claims_need_no_links(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    with Claims(tmp_path) as ours, Claims(tmp_path) as theirs:
        assert ours.acquire(["a", "b"])
        assert os.stat(tmp_path / "a.claim").st_nlink == 3
        monkeypatch.setattr(os, "link", refuse)
        assert ours.acquire(["c"])
        assert (tmp_path / "c.claim").read_bytes() == (tmp_path / "a.claim").read_bytes()
        assert not any(theirs.acquire([name]) for name in "abc")
        ours.release(["a", "c"])
        assert theirs.acquire(["a", "c"])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_claims_that_say_nothing(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with Claims(tmp_path) as ours:
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"beat-{ours._token}"]
        assert ours.acquire(["a"])
        assert json.loads((tmp_path / "a.claim").read_bytes())["token"] == ours._token


def test_claims_go_on_where_somebody_deleted_them_all(tmp_path):
    with Claims(tmp_path) as ours:
        assert ours.acquire(["a"])
        for path in tmp_path.iterdir():
            path.unlink()
        assert ours.acquire(["b"])
        assert json.loads((tmp_path / "b.claim").read_bytes())["token"] == ours._token


def claims(cache):
    return sorted(path.name for path in (cache.path / "claims").glob("*.claim"))


def test_lists_ahead_keep_their_claims_until_their_rows_are_due(tmp_path, make):
    cache = FeatureCache.create(tmp_path / "c")
    one = cache.open_set(**make.asked(DIM))
    keys = make.keys(60)
    shares = cache.share([one], keys, Lists(8, ahead=1))
    first = next(shares)
    claimed = claims(cache)
    second = next(shares)
    assert set(claimed) < set(claims(cache)), "the rows of the first list may still be to come"
    one.append(first, make.rows(first, DIM))
    third = next(shares)
    assert not set(claimed) & set(claims(cache))
    assert not {*first} & {*second}
    seen, last = [*first, *second, *third], [*second, *third]
    for batch in shares:
        one.append(last, make.rows(last, DIM))
        seen, last = seen + batch, batch
        if not batch:
            break
    assert sorted(seen) == sorted(keys), "every key comes once before rows are asked for"
    assert claims(cache)
    assert list(shares) == []
    assert claims(cache) == []
    assert one.missing(keys) == []


def test_a_process_that_waits_for_others_does_not_keep_rows_back(tmp_path, make):
    cache = FeatureCache.create(tmp_path / "c")
    keys = make.keys(40)
    ours, theirs = (FeatureCache(cache.path).open_set(**make.asked(DIM)) for _ in range(2))
    other = cache.share([theirs], keys, Lists(1))
    held = next(other)
    shares = FeatureCache(cache.path).share([ours], keys, Lists(1000, 1000, ahead=1))
    mine = next(shares)
    assert sorted(mine + held) == sorted(keys)
    # Only the other's list is left: ours is to be on the disk before we wait for it.
    assert next(shares) == []
    ours.append(mine, make.rows(mine, DIM))
    theirs.append(held, make.rows(held, DIM))
    assert list(other) == []
    assert list(shares) == []


def dealt(known, lists):
    """Return the lots of the first list of a process that knows some keys of each lot."""
    claimed = []

    class All:
        poll_s = 0.0
        release = close = staticmethod(lambda *names: None)

        def acquire_each(self, lots):
            claimed.extend(lots)
            return [True] * len(lots)

    one = SimpleNamespace(fingerprint="f" * 64, missing=list)
    keys = [f"{lot:02x}{number:04}" for lot, count in enumerate(known) for number in range(count)]
    return next(share(All(), [one], keys, lists)), len(claimed)


def test_a_list_that_is_long_enough_takes_few_lots():
    """While digests become known each lot has a few keys: a list of 1,024 would take all lots."""
    lists = Lists(most=1024, least=64)
    for known, keys, lots in [
        ([4] * 256, 64, 16),  # as many lots as are needed
        ([20] * 256, 160, 8),
        ([2000] * 256, 2000, 1),
        ([100] * 5, 500, 5),
    ]:
        found = dealt(known, lists)
        assert (len(found[0]), found[1]) == (keys, lots)


def test_lots_of_which_little_is_known_yet_come_last():
    known = [1, 9, 2, 8, 3, 7, 4, 6, 5, 9]
    keys, _ = dealt(known, Lists(most=1024))
    assert list(dict.fromkeys(key[:2] for key in keys)) == [
        f"{lot:02x}" for lot in (1, 3, 5, 7, 8, 9, 0, 2, 4, 6)
    ]


def told(keys):
    coming = iter([keys])
    return lambda wait: next(coming, None)


def test_processes_that_learn_of_images_meanwhile_work_side_by_side(tmp_path, make):
    """Four processes, each of which knows a quarter of all keys at first."""
    cache = FeatureCache.create(tmp_path / "c")
    keys = make.keys(4000)
    parts = [keys[start::4] for start in range(4)]
    sets = [FeatureCache(cache.path).open_set(**make.asked(DIM)) for _ in parts]
    lists = Lists(most=1024, least=64)
    shares = [
        FeatureCache(cache.path).share([one], told(part), lists) for one, part in zip(sets, parts)
    ]
    first = [next(one) for one in shares]
    assert all(len(one) >= lists.least for one in first), "nobody waits for another"
    for one in shares:
        one.close()


@pytest.mark.parametrize("kind", ["folder", "full folder", "pipe", "link", "text", "other tokens"])
def test_what_a_stranger_puts_in_a_claims_place_is_taken_away(tmp_path, kind):
    path = tmp_path / "claims/aa-01.claim"
    path.parent.mkdir()
    if "folder" in kind:
        path.mkdir()
        if kind == "full folder":
            (path / "x").write_text("y")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        token = {"token": "../../x", "pid": 5} if kind == "other tokens" else ["x"]
        path.write_text(json.dumps(token))
    with Claims(tmp_path / "claims", 0.1, 0.2) as claims:
        end = time.monotonic() + 30
        while not claims.acquire(["aa-01"]):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert json.loads(path.read_text())["pid"] == os.getpid()
