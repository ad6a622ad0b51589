"""A certificate for localhost with its key, which everybody knows and which protects nothing."""

from __future__ import annotations

import ssl
from tempfile import NamedTemporaryFile

__all__ = ["client_context", "server_context"]


def server_context() -> ssl.SSLContext:
    """A context for the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with NamedTemporaryFile("w", suffix=".pem") as file:  # `ssl` takes a key from a file alone
        file.write(_KEY + _CERTIFICATE)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def client_context() -> ssl.SSLContext:
    """A context that trusts that server."""
    return ssl.create_default_context(cadata=_CERTIFICATE)


_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgS+Mu48uWz0gWLid+
zM2sNnvKERax/QjT2q552XPMT6+hRANCAARhEWshpfOy3KGWsKhgsAxF2cCrXNSy
QQskbiLg1/ZxuISJJcf5IjpiZHFMoi7KMbI3ZjTYf4KiC9knBZ4gXCuY
-----END PRIVATE KEY-----
"""
_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUVoCh/NgNBrBZWnETJQtBwjDcyYQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE0MzU1MFoYDzIxMjYxMDMw
MTQzNTUwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARhEWshpfOy3KGWsKhgsAxF2cCrXNSyQQskbiLg1/ZxuISJJcf5Ijpi
ZHFMoi7KMbI3ZjTYf4KiC9knBZ4gXCuYo28wbTAdBgNVHQ4EFgQUq8l/E05p24pm
GVCjS3VaQFIg6xwwHwYDVR0jBBgwFoAUq8l/E05p24pmGVCjS3VaQFIg6xwwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhALTGEvW7hTnFI6Ufx0qmxwENnomWxajj0j8UCFTPtq4FAiBL
3WvceIZO0eGiJPccV0RwJY1cig9k5cBYEXqWsm6RaQ==
-----END CERTIFICATE-----
"""
