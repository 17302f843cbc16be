"""Images and cache in a bucket, tried on this machine: the rows are those of a folder.

    pip install 'icecore[remote]' 'moto[server]'
    python examples/bucket.py [FOLDER [NETWORK...]]

moto plays Amazon's store. With a bucket of your own leave `store()` out, and set what your store
asks for: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL and so on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

import icecore
from icecore.cache import FeatureCache, pulled
from icecore.demo import draw

OUT = Path("bucket-run")
ENDINGS = {".jpg", ".jpeg", ".png"}


@contextlib.contextmanager
def store() -> Iterator:
    """Start a store with an empty bucket, named bucket; yield boto3's client of it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
    os.environ |= {"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    try:
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        yield client
    finally:
        server.stop()


def rows(cache: Path) -> list[tuple[list[str], bytes]]:
    """Return the keys and rows of each feature set of a cache."""
    sets = [(sorted(one.keys()), one) for one in FeatureCache(cache).sets()]
    return [(keys, one.matrix(keys).tobytes()) for keys, one in sets]


def main(folder: str | None = None, *networks: str) -> int:
    """Extract from a folder and from a bucket, compare, and return how many rows there are."""
    data = Path(folder) if folder else draw(150, 0, OUT / "data").root
    specs = list(networks) or ["gluon:efficientnet_lite0"]
    icecore.extract(data, OUT / "cache", specs)
    with store() as client:
        for path in data.rglob("*"):
            if path.suffix.lower() in ENDINGS:
                key = f"photos/{path.relative_to(data).as_posix()}"
                client.upload_file(str(path), "bucket", key)
        report = icecore.extract("s3://bucket/photos", "s3://bucket/cache", specs)
        same = rows(pulled("s3://bucket/cache")) == rows(OUT / "cache")
    print(f"{report.computed} rows from s3://bucket/photos to s3://bucket/cache, {same = }")
    assert same
    return report.computed


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(*sys.argv[1:])
