"""Files of torch's old format are built here byte by byte: torch is not needed."""

from __future__ import annotations

import io
import os
import pickle
import struct

import numpy as np
import pytest

from icecore.core.errors import WeightsError
from icecore.features.weights.torch_legacy import read_legacy_torch

MAGIC = 0x1950A86A20F9469CFC6C


class _Global:
    """Pickles as a name, whether or not it can be imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Tensor:
    def __init__(self, key, count, offset, shape, strides, kind="FloatStorage"):
        self.arguments = (key, count, kind, offset, shape, strides)


class _Pickler(pickle._Pickler):
    def persistent_id(self, item):
        if isinstance(item, tuple) and item and item[0] == "storage-of":
            _, key, count, kind = item
            return ("storage", _Global("torch", kind), key, "cpu", count, None)
        return None

    def save(self, item, save_persistent_id=True):
        if isinstance(item, _Global):
            self.write(b"c" + f"{item.module}\n{item.name}\n".encode())
        elif isinstance(item, _Tensor):
            key, count, kind, offset, shape, strides = item.arguments
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            self.save((("storage-of", key, count, kind), offset, shape, strides, False, None))
            self.write(b"R")
        else:
            super().save(item, save_persistent_id)


def dumps(item) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(item)
    return buffer.getvalue()


def legacy_file(content, storages: dict[str, np.ndarray]) -> bytes:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [dumps(MAGIC), dumps(1001), dumps(system), dumps(content), dumps(list(storages))]
    for values in storages.values():
        parts.append(struct.pack("<q", values.size) + values.tobytes())
    return b"".join(parts)


@pytest.fixture
def values():
    return np.arange(24, dtype="<f4")


def write(tmp_path, content: bytes):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return path


def test_tensors_strides_offsets_and_shared_storages(tmp_path, values):
    content = {
        "a": _Tensor("1", 24, 0, (4, 6), (6, 1)),
        "transposed": _Tensor("1", 24, 0, (6, 4), (1, 6)),
        "part": _Tensor("1", 24, 20, (4,), (1,)),
        "count": _Tensor("2", 1, 0, (), (), "LongStorage"),
    }
    storages = {"1": values, "2": np.array([7], "<i8")}
    found = read_legacy_torch(write(tmp_path, legacy_file(content, storages)))
    assert list(found) == ["a", "transposed", "part", "count"]
    np.testing.assert_array_equal(found["a"], values.reshape(4, 6))
    np.testing.assert_array_equal(found["transposed"], values.reshape(4, 6).T)
    np.testing.assert_array_equal(found["part"], values[20:])
    assert found["count"] == 7


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("numpy", "load")],
)
def test_code_in_the_file_is_not_run(tmp_path, module, name):
    evil = legacy_file({}, {}).replace(dumps({}), _reduce(module, name, f"touch {tmp_path}/owned"))
    with pytest.raises(WeightsError, match=rf"(?s)asks for {module}\.{name}.*may carry code"):
        read_legacy_torch(write(tmp_path, evil))
    assert not (tmp_path / "owned").exists()


def _reduce(module, name, argument):
    text = argument.encode()
    call = b"\x80\x02c" + f"{module}\n{name}\n".encode()
    return call + b"X" + struct.pack("<I", len(text)) + text + b"\x85R."


def test_the_real_attack_pickle_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    head = dumps(MAGIC) + dumps(1001) + dumps({"little_endian": True})
    path = write(tmp_path, head + pickle.dumps(Attack(), protocol=2))
    with pytest.raises(WeightsError, match="may carry code"):
        read_legacy_torch(path)
    assert not (tmp_path / "owned").exists()


def test_the_head_itself_cannot_call_either(tmp_path):
    path = write(tmp_path, _reduce("posix", "system", f"touch {tmp_path}/owned"))
    with pytest.raises(WeightsError):
        read_legacy_torch(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("cut", [1, 10, 40, 100, 200, -1, -40])
def test_a_file_cut_short_is_refused(tmp_path, values, cut):
    whole = legacy_file({"a": _Tensor("1", 24, 0, (4, 6), (6, 1))}, {"1": values})
    with pytest.raises(WeightsError, match="weights.pth"):
        read_legacy_torch(write(tmp_path, whole[:cut]))


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((5, 6), (6, 1), 0), ((4, 6), (6, 1), 1), ((4,), (-1,), 0), ((4,), (1,), -2)],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, values, shape, strides, offset):
    content = legacy_file({"a": _Tensor("1", 24, offset, shape, strides)}, {"1": values})
    with pytest.raises(WeightsError, match="beyond its storage"):
        read_legacy_torch(write(tmp_path, content))


def test_a_tensor_that_repeats_one_value_a_billion_times_is_refused(tmp_path, values):
    content = legacy_file({"a": _Tensor("1", 24, 0, (10**5, 10**5), (0, 0))}, {"1": values})
    with pytest.raises(WeightsError, match="larger than its storage"):
        read_legacy_torch(write(tmp_path, content))


def test_a_zip_archive_is_named_as_the_newer_format(tmp_path):
    with pytest.raises(WeightsError, match="newer .pth files are zip archives"):
        read_legacy_torch(write(tmp_path, b"PK\x03\x04" + b"\0" * 100))


def test_a_network_instead_of_a_dictionary_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="dictionary of tensors"):
        read_legacy_torch(write(tmp_path, legacy_file([1, 2], {})))


def test_a_pickle_that_numbers_its_parts_beyond_all_measure_is_refused(tmp_path):
    bomb = b"\x80\x02K\x01r" + struct.pack("<I", 2**32 - 1) + b"."  # 64 GB of memo
    with pytest.raises(WeightsError, match="numbers a part 4294967295"):
        read_legacy_torch(write(tmp_path, bomb))
