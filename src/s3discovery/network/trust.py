"""Whose certificates are trusted: the system's CAs, or those that a variable names.

AWS_CA_BUNDLE, then REQUESTS_CA_BUNDLE, take the place of the system's, as in AWS's SDKs; then SSL_CERT_FILE
and SSL_CERT_DIR, as in OpenSSL. OpenSSL passes over a file that it cannot read; here that is an error.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from s3discovery.errors import Problem, SettingsError

BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_SYSTEM = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def trust_variable(environ: Mapping[str, str]) -> str | None:
    """Return the variable that says whose certificates are trusted; None: the system does."""
    return next((name for name in (*BUNDLES, *_SYSTEM) if environ.get(name)), None)


def make_context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return what to connect by TLS with; None: nothing is set, and the system's CAs are trusted.

    Reads files. Raises SettingsError, with the variable's name, for what cannot be read."""
    variable = trust_variable(environ)
    if variable is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if variable in BUNDLES:
        path = environ[variable]
        _load(context, variable, path, is_directory=Path(path).is_dir())
        return context
    system = ssl.get_default_verify_paths()
    if environ.get("SSL_CERT_FILE"):
        _load(context, "SSL_CERT_FILE", environ["SSL_CERT_FILE"], is_directory=False)
    elif system.openssl_cafile and Path(system.openssl_cafile).is_file():
        context.load_verify_locations(cafile=system.openssl_cafile)
    if environ.get("SSL_CERT_DIR"):
        for path in environ["SSL_CERT_DIR"].split(os.pathsep):
            _load(context, "SSL_CERT_DIR", path, is_directory=True)
    elif system.openssl_capath and Path(system.openssl_capath).is_dir():
        context.load_verify_locations(capath=system.openssl_capath)
    return context


def _load(context: ssl.SSLContext, variable: str, path: str, *, is_directory: bool) -> None:
    try:
        if is_directory:
            next(Path(path).iterdir(), None)  # OpenSSL would not say that there is none
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path; SSLError is an OSError
        raise SettingsError([Problem(variable, path, _cure(error))], "environment") from error


def _cure(error: Exception) -> str:
    match error:
        case ssl.SSLError():
            return "holds no certificates in PEM form; name the file of the CA that signed the store's"
        case FileNotFoundError():
            return "does not exist; name the file of the CA that signed the store's, or unset it"
        case PermissionError():
            return "may not be read by this user; give it the right (chmod, chown), or name another"
        case _:
            return f"cannot be read ({error}); name the file of the CA that signed the store's, or unset it"
