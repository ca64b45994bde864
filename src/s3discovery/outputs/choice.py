"""Which outputs the settings ask for: one in themselves, and one in every file of `output-folder`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s3discovery.child import Child
from s3discovery.errors import BrokerError, Problem, SettingsError
from s3discovery.outputs import Outputs, Plan
from s3discovery.outputs.apart import make_template
from s3discovery.outputs.file import OutputFile
from s3discovery.settings import sources
from s3discovery.settings.config import Settings
from s3discovery.settings.keys import nearest_key
from s3discovery.settings.keys.command import CHILD, OUTPUT, output_clashes
from s3discovery.settings.kinds import WrongTextError

_CHILDLESS = "names the child, but there is none: start its program with s3discovery run -- program"
_BY_NAME = {key.name: key for key in OUTPUT}


def make_outputs(settings: Settings, environ: Mapping[str, str], child: Child | None) -> Outputs | None:
    """Return the outputs, None if there are none; nothing is written or tried out yet.

    Raises SettingsError for a template that cannot be read, for a signal to no child, and for wrong files in
    `output-folder`."""
    plans: list[Plan] = []
    problems: list[Problem] = []
    for origin, described in _described(settings, problems):
        where = f" (set in {origin})" if origin else ""
        signal = described["output_signal"]
        if signal is not None and signal[1] == CHILD and child is None:
            problems.append(Problem("output-signal", ":".join(signal), f"{_CHILDLESS}{where}"))
            continue
        try:
            plans.append(_plan(described, environ, origin))
        except (BrokerError, ImportError) as error:
            problems.append(Problem("output-template", None, f"{_cure(error)}{where}"))
    if problems:
        raise SettingsError(problems)
    if not plans:
        return None
    return Outputs(plans, environ=environ, limit_s=settings.command_timeout_s, child=child)


def _plan(described: Mapping[str, Any], environ: Mapping[str, str], origin: str) -> Plan:
    variables = dict(described["output_variables"] or ())
    return Plan(
        OutputFile(Path(described["output_file"]), in_block=described["output_block"]),
        make_template(described["output_template"], variables, environ),
        described["output_reload"],
        described["output_signal"],
        origin,
    )


def _described(settings: Settings, problems: list[Problem]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield where each output is described, and its values by attribute."""
    if settings.output_file is not None:
        yield "", {key.attribute: getattr(settings, key.attribute) for key in OUTPUT}
    if settings.output_folder is None:
        return
    folder = Path(settings.output_folder)
    try:
        files = sorted(folder.glob("*.properties")) if folder.is_dir() else None
    except OSError:
        files = None
    if files is None:
        problems.append(Problem("output-folder", str(folder), "is no folder that can be read; make it"))
    for file in files or ():
        found: dict[str, Any] = {}
        try:
            faults = list(_read(sources.read_properties(file), found))
        except SettingsError as error:
            faults = list(error.problems)
        problems.extend(Problem(each.key, each.value, f"{each.cure} (set in {file})") for each in faults)
        if not faults:
            yield str(file), found


def _read(texts: Mapping[str, str], found: dict[str, Any]) -> Iterator[Problem]:
    """Put what one file of the folder means into `found`; yield what is wrong."""
    for name in texts.keys() - _BY_NAME.keys():
        yield Problem(name, None, f"leave it out, or write {nearest_key(name) or 'output-file'}")
    for key in OUTPUT:
        text = texts.get(key.name, key.default)
        try:
            found[key.attribute] = key.read(text) if text else None
        except WrongTextError as error:
            yield Problem(key.name, text, str(error))
    if not found.get("output_file", True):
        yield Problem("output-file", None, "is missing")
    yield from (Problem(name, None, cure) for name, cure in output_clashes(found))


def _cure(error: BrokerError | ImportError) -> str:
    if isinstance(error, ImportError):
        return f"needs a package that is missing ({error.name}); run pip install 's3discovery[templates]'"
    return str(error)
