"""Requests to AWS that are signed (Signature Version 4) instead of carrying a key. Needs the extra `sigv4`. No I/O."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from gateway.errors import ConfigError
from gateway.wire.format import Authorize

SERVICE = "bedrock"


def environment_key() -> str:
    """The access key of AWS's standard variables, as `signer` takes it. Raises ConfigError when they are not set."""
    names = {"AccessKeyId": "AWS_ACCESS_KEY_ID", "SecretAccessKey": "AWS_SECRET_ACCESS_KEY"}
    if missing := [variable for variable in names.values() if not os.environ.get(variable)]:
        raise ConfigError(f"{' and '.join(missing)} not set; export them or give the route a `credential`")
    key = {member: os.environ[variable] for member, variable in names.items()}
    return json.dumps(key | {"SessionToken": os.environ.get("AWS_SESSION_TOKEN")})


def signer(key: str, region: str) -> Authorize:
    """Signs with `key`, JSON as `aws sts` and credential processes print it: `AccessKeyId`, `SecretAccessKey` and, for
    a temporary one, `SessionToken`. Raises ConfigError, which never holds any of it."""
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import ReadOnlyCredentials
    except ModuleNotFoundError:
        raise ConfigError("`aws_region` needs the Python package botocore; install the extra `sigv4`") from None
    try:
        given = json.loads(key)
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        access_key, secret_key, token = (given.get(name) for name in names)
    except (ValueError, AttributeError):
        access_key = secret_key = token = None
    if not isinstance(access_key, str) or not isinstance(secret_key, str) or not isinstance(token, str | None):
        raise ConfigError("with `aws_region`, `credential` leads to JSON with AccessKeyId and SecretAccessKey")
    auth = SigV4Auth(ReadOnlyCredentials(access_key, secret_key, token), SERVICE, region)

    def authorize(credential: str, method: str, url: str, body: bytes) -> Mapping[str, str]:
        request = AWSRequest(method=method, url=url, data=body)
        auth.add_auth(request)
        return dict(request.headers.items())

    return authorize
