"""Templates of users are rendered in a process of their own, which may be ended.

A sandbox does not keep a template from running for ever, or from making a text larger than the memory; in
the agent's own process that would stop everything, signals included.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from s3discovery.errors import BrokerError, WrongTemplateError
from s3discovery.outputs.render import CPU_LIMIT_S, REFUSED, make_request
from s3discovery.outputs.template import OutputTemplate, read_source
from s3discovery.presentation import Roster
from s3discovery.program import without_secrets
from s3discovery.settings.keys.command import BUILT_IN

LIMIT_S = 10.0
# -P: nothing is imported from the folder that the agent happens to stand in.
_VECTOR = (sys.executable, "-P", "-m", "s3discovery.outputs.render")


class Template(Protocol):
    """What the content of a file comes from."""

    async def try_out(self) -> None:
        """Render it for nodes that do not exist; raises BrokerError with the line that fails."""

    async def render(self, roster: Roster) -> bytes:
        """Return the content of the file; raises BrokerError with the line that fails."""


def make_template(name: str, variables: Mapping[str, str], environ: Mapping[str, str]) -> Template:
    """Return the template of this name, a built-in one or a path; raises BrokerError if it cannot be read."""
    return TemplateHere(name, variables) if name in BUILT_IN else TemplateApart(name, variables, environ)


class TemplateHere:
    """A built-in template: ours, known to end, and rendered here; tried out as it is made."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        self._template = OutputTemplate(name, variables)
        self._variables = variables

    async def try_out(self) -> None:
        """Do nothing more."""

    async def render(self, roster: Roster) -> bytes:
        """Return the content of the file."""
        return self._template.render(roster, self._variables)


class TemplateApart:
    """A template of a user; each rendering is a process. Raises BrokerError if it cannot be read."""

    def __init__(self, name: str, variables: Mapping[str, str], environ: Mapping[str, str]) -> None:
        import jinja2  # noqa: F401 - extra `templates`: what is missing is said here as for built-in ones

        self._name = name
        self._variables = dict(variables)
        self._environ = without_secrets(environ)
        self._source = read_source(name)
        self._last: tuple[Roster, bytes] | None = None

    async def try_out(self) -> None:
        """Render it for nodes that do not exist; raises BrokerError as `render` does."""
        await self._run(None)

    async def render(self, roster: Roster) -> bytes:
        """Return the content of the file; the last one if nothing has changed. Raises BrokerError."""
        if self._last is None or self._last[0] != roster:
            self._last = roster, await self._run(roster)
        return self._last[1]

    async def _run(self, roster: Roster | None) -> bytes:
        """Return what the process prints, which is ended after LIMIT_S and when the caller is cancelled."""
        try:
            process = await asyncio.create_subprocess_exec(
                *_VECTOR,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            raise BrokerError(
                f"output-template {self._name!r} could not be rendered: "
                f"no process can be started: {error.strerror}"
            ) from error
        try:
            async with asyncio.timeout(LIMIT_S):
                said, _ = await process.communicate(
                    make_request(self._name, self._source, self._variables, roster)
                )
        except TimeoutError:
            raise BrokerError(
                f"output-template {self._name!r} took longer than {LIMIT_S:g} s and was ended, though it had "
                "little of the processor: the machine is too busy"
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return self._checked(process.returncode, said)

    def _checked(self, code: int | None, said: bytes) -> bytes:
        if code == 0:
            return said
        if code == -signal.SIGXCPU:
            raise WrongTemplateError(
                f"output-template {self._name!r} took more than {CPU_LIMIT_S} s of processor time and was "
                "ended; look for loops within loops"
            )
        if code == REFUSED:
            raise WrongTemplateError(said.decode(errors="replace"))
        raise BrokerError(
            f"output-template {self._name!r} could not be rendered: its process ended with code {code}"
        )
