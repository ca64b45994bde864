"""`s3discovery init`: a settings file, by asking or from options."""

import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import click

from s3discovery.cli.options import complete_setting
from s3discovery.errors import DiscoveryError, Problem, SettingsError
from s3discovery.settings.config import BY_NAME, Key, nearest_key, parse, unknown_keys
from s3discovery.settings.keys import HIVEMQ_3
from s3discovery.settings.keys.credentials import NEEDED
from s3discovery.settings.kinds import WrongTextError
from s3discovery.wiring import DEFAULT_FILE

# What is asked for, with what Enter answers; the rest has defaults that hold nearly everywhere.
_QUESTIONS: Mapping[str, str | None] = {
    "s3-bucket-name": None,
    "s3-bucket-region": "us-east-1",
    "s3-endpoint": "",
    "file-prefix": "hivemq/cluster/nodes/",
    "file-expiration": "15m",
    "update-interval": "5m",
    "credentials-type": "default",
    "broker": "none",
}
_SECRET_MODE, _MODE = 0o600, 0o666  # the second is what the umask leaves of it


@click.command()
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="Properties file to write.",
)
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_setting,
    help="A setting; it is not asked for.",
)
@click.option(
    "--from",
    "original",
    type=click.Path(path_type=Path),
    help="Properties file to start from, such as that of HiveMQ's plugin.",
)
@click.option("--no-input", is_flag=True, help="Ask nothing; what is missing is an error.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def init(file: Path, options: tuple[str, ...], original: Path | None, no_input: bool, force: bool) -> None:
    """Write a settings file with every key explained, by asking or from options.

    Nothing is asked when -o and --from give all that is required. A file that holds a secret is for its
    owner's eyes only.

    \b
    Example:
      s3discovery init -o s3-bucket-name=hivemq -o s3-bucket-region=us-east-1
    """
    from s3discovery.settings.properties_file import write_properties

    if not force and os.path.lexists(file):
        raise click.ClickException(
            f"{str(file)!r} is there already; name another, or replace it with --force"
        )
    values = _given(original, options)
    _complete(values, ask=not no_input)
    is_secret = any(BY_NAME[name].secret for name in values)
    _write(file, write_properties(values), mode=_SECRET_MODE if is_secret else _MODE, force=force)
    named = "" if file == DEFAULT_FILE else f" -c {shlex.quote(str(file))}"
    click.echo(f"wrote {file}")
    click.echo(f"next: s3discovery doctor{named}")


def _given(original: Path | None, options: Iterable[str]) -> dict[str, str]:
    """Return what a file and options set; raises SettingsError for options that mean nothing."""
    from s3discovery.settings import sources

    found = sources.gather(file=original, environ={}, options=tuple(options))
    unknown = [name for name, _ in unknown_keys(found)]
    if wrong := [
        Problem("-o", None, _unknown(name)) for name in unknown if found[name].origin == sources.OPTION
    ]:
        raise SettingsError(wrong, "options")
    for name in unknown:
        click.echo(f"left out: {_unknown(name)}", err=True)
    values = {name: value.text for name, value in found.items() if name in BY_NAME}
    for name, remark in sources.remarks(found):
        if name == "compatibility":  # once it is written down, nobody asks again
            raise SettingsError([Problem(name, None, f"{remark} (-o compatibility=...)")], "settings")
        click.echo(f"{name} {remark}", err=True)
    # The unit is written always: the file may get a name that is read as HiveMQ 4's.
    return {"compatibility": HIVEMQ_3} | values


def _unknown(name: str) -> str:
    nearest = nearest_key(name)
    return f"unknown key {name!r}" + (f", is {nearest} meant?" if nearest else "")


def _complete(values: dict[str, str], *, ask: bool) -> None:
    """Bring `values` to what can be parsed, by asking; raises SettingsError where nobody may be asked."""
    if not (problems := _problems(values)):
        return
    if not ask:
        raise SettingsError(problems)
    _mend(values, [problem for problem in problems if problem.key in values])
    for name in _QUESTIONS:
        if name not in values:
            _ask(values, name)
    for name in NEEDED.get(values["credentials-type"], ()):
        if name not in values and f"{name}-file" not in values:
            _ask(values, name)
    while problems := _problems(values):
        _mend(values, problems)


def _mend(values: dict[str, str], problems: Iterable[Problem]) -> None:
    """Say what is wrong and ask for it, once for each key."""
    for name, problem in {problem.key: problem for problem in problems}.items():
        click.echo(f"{problem}", err=True)
        _ask(values, name)


def _problems(values: Mapping[str, str]) -> tuple[Problem, ...]:
    try:
        parse(values)
    except SettingsError as error:
        return error.problems
    return ()


def _ask(values: dict[str, str], name: str) -> None:
    """Ask for one key until its own reader takes the answer; an empty answer leaves it unset."""
    key = BY_NAME[name]
    default = _QUESTIONS.get(name, key.default)
    if default is None and not _must_be_answered(key):
        default = ""
    click.echo(f"\n{key.help}", err=True)
    text: str = click.prompt(
        name,
        default=default,
        show_default=bool(default),
        hide_input=key.secret,
        err=True,
        value_proc=lambda answer: _read(key, answer, values),
    )
    values.pop(name, None)
    if text or key.required:
        values[name] = text


def _must_be_answered(key: Key) -> bool:
    return key.required or any(key.name in names for names in NEEDED.values())


def _read(key: Key, text: str, values: Mapping[str, str]) -> str:
    """Return an answer that the key's own reader takes; click asks again for others."""
    if text or key.required:
        try:
            key.reader(values.get("compatibility", HIVEMQ_3))(text)
        except WrongTextError as error:
            raise click.UsageError(str(error)) from error
    return text


def _write(path: Path, text: str, *, mode: int, force: bool) -> None:
    """Write the file whole or not at all; without `force` never over another, even one of this moment.

    With it, where there is a link, what it leads to is replaced, and the link stays."""
    if force:
        path = Path(os.path.realpath(path))
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    claimed = False
    try:
        if not force:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            claimed = True
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(text.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        if claimed:
            with suppress(OSError):
                path.unlink()
        raise DiscoveryError(
            f"{str(path)!r} cannot be written ({error.strerror}); name another with -c"
        ) from error
