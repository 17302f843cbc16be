"""The same few images in every kind of place: a folder, tars, tables, records, and stores."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def draw_photos(root: Path, count: int = 12) -> Path:
    """Draw photographs of two classes below ``root/train``."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / "train" / ("hat", "coat")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.{'jpg' if number % 3 else 'png'}")
    return root


def files_of(photos: Path) -> list[Path]:
    return sorted(path for path in photos.rglob("*") if path.is_file())


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_tars(photos: Path, folder: Path, count: int = 3, labels: str = "cls") -> Path:
    """Write ``train-00000.tar`` and so on, in WebDataset's manner."""
    folder.mkdir(parents=True, exist_ok=True)
    files = files_of(photos)
    for shard in range(count):
        with tarfile.open(folder / f"train-{shard:05}.tar", "w") as archive:
            for path in files[shard::count]:
                add(archive, path.name, path.read_bytes())
                text = path.parent.name
                label = json.dumps({"label": text}) if labels == "json" else text
                add(archive, f"{path.stem}.{labels}", label.encode())
    return folder


def write_parquet(photos: Path, folder: Path, struct: bool = True) -> Path:
    """Write a table as the Hugging Face hub has it, with five images in a row group."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    files, names = files_of(photos), ["coat", "hat"]
    contents = [path.read_bytes() for path in files]
    images = [{"bytes": c, "path": p.name} for c, p in zip(contents, files)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if struct else pa.binary()
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    fields = [pa.field("image", kind), pa.field("label", pa.int64())]
    schema = pa.schema(fields, metadata={"huggingface": json.dumps(features)})
    columns = {
        "image": pa.array(images if struct else contents, kind),
        "label": pa.array([names.index(path.parent.name) for path in files], pa.int64()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns, schema=schema)
    pq.write_table(table, folder / "train-00000-of-00001.parquet", row_group_size=5)
    return folder


def write_records(photos: Path, folder: Path) -> Path:
    """Write what MXNet's ``im2rec.py`` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    with open(folder / "train.rec", "wb") as file:
        for number, path in enumerate(files_of(photos)):
            label = float(path.parent.name == "hat")
            content = struct.pack("<IfQQ", 0, label, number, 0) + path.read_bytes()
            file.write(struct.pack("<II", 0xCED7230A, len(content)) + content)
            file.write(bytes(-len(content) % 4))
            lines.append(f"{number}\t{label}\t{path.parent.name}/{path.name}\n")
    (folder / "train.lst").write_text("".join(lines))
    return folder


@contextlib.contextmanager
def s3_server():
    """Start moto's server with an empty bucket; yields its URL."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in [*settings, "AWS_PROFILE"]}
    os.environ.update(settings)
    os.environ.pop("AWS_PROFILE", None)
    try:
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        bucket = f"bucket-{os.getpid()}-{server.get_host_and_port()[1]}"
        client.create_bucket(Bucket=bucket)
        yield f"s3://{bucket}", client
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def upload(folder: Path, url: str) -> str:
    """Copy a folder below a URL."""
    from icecore.core.stores import store_of

    store, key = store_of(url)
    for path in files_of(folder):
        store.create(f"{key}/{path.relative_to(folder).as_posix()}", path)
    return url
