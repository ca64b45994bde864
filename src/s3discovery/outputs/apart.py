"""Templates of users are rendered in a process of their own, which may be ended.

A sandbox does not keep a template from running for ever, or from making a text larger than the memory; in
the agent's own process that would stop everything, signals included.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from s3discovery.errors import BrokerError
from s3discovery.outputs.render import REFUSED, make_request
from s3discovery.outputs.template import OutputTemplate, read_source
from s3discovery.presentation import Roster
from s3discovery.program import without_secrets
from s3discovery.settings.keys.command import BUILT_IN

Render = Callable[[Roster], Awaitable[bytes]]

LIMIT_S = 10.0
# -P: nothing is imported from the folder that the agent happens to stand in.
_VECTOR = (sys.executable, "-P", "-m", "s3discovery.outputs.render")


def make_render(name: str, variables: Mapping[str, str], environ: Mapping[str, str]) -> Render:
    """Return what renders the template of this name, once it was tried out; raises BrokerError.

    Built-in ones are ours, known to end, and rendered here."""
    if name not in BUILT_IN:
        return TemplateApart(name, variables, environ).render
    template = OutputTemplate(name, variables)

    async def render(roster: Roster) -> bytes:
        return template.render(roster, variables)

    return render


class TemplateApart:
    """A template of a user, read and tried out; each rendering is a process. Raises BrokerError."""

    def __init__(self, name: str, variables: Mapping[str, str], environ: Mapping[str, str]) -> None:
        import jinja2  # noqa: F401 - extra `templates`: what is missing is said here as for built-in ones

        self._name = name
        self._variables = dict(variables)
        self._environ = without_secrets(environ)
        self._source = read_source(name)
        self._last: tuple[Roster, bytes] | None = None
        self._try_out()

    async def render(self, roster: Roster) -> bytes:
        """Return the content of the file; the last one if nothing has changed. Raises BrokerError.

        The process is ended after LIMIT_S, and when the caller is cancelled."""
        if self._last is not None and self._last[0] == roster:
            return self._last[1]
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
            raise self._not_started(error) from error
        try:
            async with asyncio.timeout(LIMIT_S):
                said, _ = await process.communicate(self._request(roster))
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        content = self._checked(process.returncode, said)
        self._last = roster, content
        return content

    def _try_out(self) -> None:
        """Render it for nodes that do not exist. Nothing else of the node runs yet, so it is waited for."""
        try:
            done = subprocess.run(  # noqa: S603 - our own program; the template is only its input
                _VECTOR,
                input=self._request(None),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._too_slow() from None
        except OSError as error:
            raise self._not_started(error) from error
        self._checked(done.returncode, done.stdout)

    def _request(self, roster: Roster | None) -> bytes:
        return make_request(self._name, self._source, self._variables, roster)

    def _checked(self, code: int | None, said: bytes) -> bytes:
        if code == 0:
            return said
        if code == REFUSED:
            raise BrokerError(said.decode(errors="replace"))
        raise BrokerError(
            f"output-template {self._name!r} could not be rendered: its process ended with code {code}"
        )

    def _too_slow(self) -> BrokerError:
        return BrokerError(
            f"output-template {self._name!r} took longer than {LIMIT_S:g} s and was ended; "
            "look for loops within loops"
        )

    def _not_started(self, error: OSError) -> BrokerError:
        return BrokerError(
            f"output-template {self._name!r} could not be rendered: "
            f"no process can be started: {error.strerror}"
        )
