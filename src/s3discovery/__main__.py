"""`python -m s3discovery` is the command `s3discovery`."""

from s3discovery.cli import main

main()
