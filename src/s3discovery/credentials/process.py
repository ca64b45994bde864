"""credentials-type:process: what the program prints that a profile names as its credential_process."""

import asyncio
import os
import shlex
import signal
from collections.abc import Mapping
from contextlib import suppress

from s3discovery.credentials import profiles
from s3discovery.credentials.issued import read_issued, read_object
from s3discovery.credentials.renewal import Issued
from s3discovery.errors import CredentialsError

RUN_LIMIT_S = 60.0  # it may ask a person's token or another server
_OUTPUT_LIMIT_BYTES = 256 * 1024
_END_LIMIT_S = 2.0


class CredentialProcess:
    """The program of `profile`; without a shell, as AWS's SDKs start it. What it prints never shows."""

    def __init__(self, environ: Mapping[str, str], profile: str) -> None:
        self._environ = environ
        self._profile = profile
        self._source = f"process of profile {profile!r}"

    async def issue(self) -> Issued:
        """Run the program; raises CredentialsError."""
        words = self._command()
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # it may hold secrets, and is not ours to show
                env=dict(self._environ),
                limit=_OUTPUT_LIMIT_BYTES,
                start_new_session=True,  # so that it ends with all that it has started
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it cannot be started"
            raise CredentialsError(
                f"{self._source}: {words[0]!r}: {reason}; mend credential_process"
            ) from error
        try:
            output = await self._output(process)
        finally:
            if process.returncode is None:
                await _kill(process)
        if process.returncode != 0:
            raise CredentialsError(
                f"{self._source}: {words[0]!r} ended with exit code {process.returncode}; run it by hand "
                "to see why"
            )
        found = read_object(output.decode("utf-8", "replace"), self._source)
        if found.get("Version") != 1:
            raise CredentialsError(f"{self._source}: the answer's Version is not 1; mend the program")
        return read_issued(found, self._source)

    def _command(self) -> list[str]:
        line = profiles.merged_profile(self._environ, self._profile).get("credential_process", "")
        try:
            words = shlex.split(line)
        except ValueError:
            words = []
        if not words:
            raise CredentialsError(
                f"{self._source}: there is no credential_process that can be read; write it into "
                f"{str(profiles.config_path(self._environ))!r}, or set credentials-profile"
            )
        return words

    async def _output(self, process: asyncio.subprocess.Process) -> bytes:
        if process.stdout is None:
            raise RuntimeError("the process was started without a pipe")
        output = b""
        while chunk := await process.stdout.read(65536):
            output += chunk
            if len(output) > _OUTPUT_LIMIT_BYTES:
                raise CredentialsError(f"{self._source}: it prints more than {_OUTPUT_LIMIT_BYTES} bytes")
        await process.wait()
        return output


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the program and what it has started; its pipe is emptied, else it would never count as ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_LIMIT_S):
            await process.communicate()
