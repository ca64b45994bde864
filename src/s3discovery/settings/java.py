"""Java's system properties: of option variables, of arguments, and of a JVM that runs on this machine.

Nothing of a value is ever shown: one of them is a secret key.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from s3discovery.errors import Problem, SettingsError

# Weakest first: Java puts JAVA_TOOL_OPTIONS and JDK_JAVA_OPTIONS before the command line, start
# scripts put JAVA_OPTS into it, and HiveMQ's own variable is meant for HiveMQ alone.
JAVA_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "HIVEMQ_OPTS")
PROC = Path("/proc")
_CMDLINE_LIMIT_BYTES = 4 * 2**20  # Linux allows more for a command line, nobody writes more
# Options of `java` whose value is the next word. Source: `java --help` and `java --help-extra`.
_TAKES_A_WORD = frozenset(
    {
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--upgrade-module-path",
        "--add-modules",
        "--limit-modules",
        "--enable-native-access",
        "--add-reads",
        "--add-exports",
        "--add-opens",
        "--patch-module",
        "--source",
    }
)
_BEFORE_MAIN = frozenset({"-jar", "-m", "--module"})


def java_system_properties(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the Java system properties of `-Dname=value` arguments and of Java's option variables.

    An argument may come with or without its `-D`, and wins over HIVEMQ_OPTS, that over JAVA_OPTS, that
    over JDK_JAVA_OPTIONS, that over JAVA_TOOL_OPTIONS. Raises SettingsError where a quote is not closed."""
    words: list[str] = []
    problems: list[Problem] = []
    for variable in JAVA_VARIABLES:
        try:
            words += [word for word in shlex.split(environ.get(variable, "")) if word.startswith("-D")]
        except ValueError:
            problems.append(Problem(variable, None, "close its quote; it was not read"))
    if problems:
        raise SettingsError(problems, "environment")
    return _read_definitions((*words, *arguments))


def properties_of_jvm(pid: int, proc: Path = PROC) -> dict[str, str]:
    """Return the system properties on the command line of the JVM `pid`.

    Arguments of the program that it runs are not among them. Raises OSError if there is no such process,
    or it may not be looked at."""
    with (proc / str(pid) / "cmdline").open("rb") as file:
        raw = file.read(_CMDLINE_LIMIT_BYTES)
    words = raw.decode("utf-8", "surrogateescape").split("\0")
    return _read_definitions(word for word in _jvm_options(words[1:]) if word.startswith("-D"))


def _jvm_options(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command line that `java` itself reads: those before the main class."""
    remaining = iter(words)
    for word in remaining:
        if not word.startswith(("-", "@")) or word.partition("=")[0] in _BEFORE_MAIN:
            return
        yield word
        if word in _TAKES_A_WORD:
            next(remaining, None)


def _read_definitions(words: Sequence[str] | Iterator[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, _, text = word.removeprefix("-D").partition("=")
        if name:
            found[name] = text
    return found
