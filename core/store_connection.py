"""How a store is connected to: what the environment says, and whose credentials are taken."""

import os
import re
from typing import Any

from .errors import StoreError
from .imports import load

_ENDPOINTS = {
    "AWS": ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    "AZURE": ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
    "GOOGLE": (),
}
_WEB = re.compile(r"https?://[^/\s]")
_CONNECTION = (
    "allow_http allow_invalid_certificates connect_timeout http1_only http2_only "
    "pool_idle_timeout pool_max_idle_per_host proxy_url timeout user_agent"
).split()


def connection(scheme: str, timeout_s: int) -> dict[str, Any]:
    """Return how a store is connected to: what is said here takes the place of the environment."""
    if scheme in ("http", "https"):
        return {"timeout": f"{timeout_s}s", "allow_http": scheme == "http"}
    maker = {"s": "AWS", "g": "GOOGLE", "a": "AZURE"}[scheme[0]]
    for name in _ENDPOINTS[maker]:
        value = os.environ.get(name)
        # The library that reads it would panic.
        if value and not _WEB.match(value):
            raise StoreError(
                f"{name} is {value!r}, which is no URL",
                "set it to one, as http://localhost:9000 (which needs "
                f"{maker}_ALLOW_HTTP=true, too)",
            )
    told = {name: os.environ.get(f"{maker}_{name.upper()}") for name in _CONNECTION}
    return {"timeout": f"{timeout_s}s"} | {name: value for name, value in told.items() if value}


def profile():
    """Return the credentials of boto3's session (profiles, single sign-on), where that is asked."""
    if "AWS_PROFILE" not in os.environ:
        return None
    boto3, obstore = load("boto3"), load("obstore", "obstore.auth.boto3")
    return obstore.auth.boto3.Boto3CredentialProvider(boto3.Session())
