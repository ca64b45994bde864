"""The command line: the composition root, one file a command. Nothing else ends the process."""

from s3discovery.cli.app import main
from s3discovery.cli.config import config
from s3discovery.cli.demo import demo
from s3discovery.cli.members import members
from s3discovery.cli.run import run
from s3discovery.cli.watch import watch

__all__ = ["main"]

for command in (run, members, watch, config, demo):
    main.add_command(command)
