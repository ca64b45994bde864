"""The command line: the composition root, one file a command. Nothing else ends the process."""

from s3discovery.cli.app import main
from s3discovery.cli.completion import completion
from s3discovery.cli.config import config
from s3discovery.cli.demo import demo
from s3discovery.cli.doctor import doctor
from s3discovery.cli.init import init
from s3discovery.cli.leave import leave
from s3discovery.cli.members import members
from s3discovery.cli.observe import observe
from s3discovery.cli.policy import policy
from s3discovery.cli.run import run
from s3discovery.cli.status import status
from s3discovery.cli.watch import watch

__all__ = ["main"]

for command in (run, doctor, status, leave, observe, members, watch, config, demo, policy, init, completion):
    main.add_command(command)
