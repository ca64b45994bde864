"""`s3discovery completion`: what a shell needs to complete our commands, options and settings."""

import click
from click.shell_completion import get_completion_class

from s3discovery.cli.app import main

_VARIABLE = "_S3DISCOVERY_COMPLETE"
# What click's scripts lack: after `key=` stands its value, so no space. fish leaves it out by itself.
_NO_SPACE = {
    "bash": (
        "            COMPREPLY+=($value)\n",
        "            COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace\n",
    ),
    "zsh": (
        "        _describe -V unsorted completions_with_descriptions -U\n",
        (
            "        local -a suffix\n"
            '        [[ "${completions_with_descriptions[1]}" == *=:* ]] && suffix=(-S "")\n'
            '        _describe -V unsorted completions_with_descriptions -U "${suffix[@]}"\n'
        ),
    ),
}


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that has a shell complete commands, options and settings.

    bash: save it as ~/.local/share/bash-completion/completions/s3discovery, or `source` it. zsh: save it as
    _s3discovery in a folder of $fpath. fish: save it as ~/.config/fish/completions/s3discovery.fish.

    \b
    Example:
      s3discovery completion bash
    """
    made = get_completion_class(shell)
    if made is None:  # pragma: no cover - the choice above has only those that click knows
        raise click.UsageError(f"no completion for {shell}")
    script = made(main, {}, "s3discovery", _VARIABLE).source()
    if shell in _NO_SPACE:
        script = script.replace(*_NO_SPACE[shell])
    click.echo(script)
