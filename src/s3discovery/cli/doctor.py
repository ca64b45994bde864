"""`s3discovery doctor`: what is wrong, and how to mend it."""

import click

from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.cli.signals import until_signal
from s3discovery.wiring import Origins


@click.command()
@common
@format_option("table", "json")
@click.option("--read-only", is_flag=True, help="Write nothing to the bucket; what that needs is not tried.")
@click.option("--strict", is_flag=True, help="End with 1 for warnings, too.")
def doctor(origins: Origins, log_level: str | None, form: str, read_only: bool, strict: bool) -> None:
    """Examine the whole way to a cluster: say what is wrong, and how to mend it.

    Settings, credentials, network, store, bucket, each permission (on a probe that is taken away again),
    this node's address, the node files and the peers. Ends with 0 if nothing is wrong or only warnings were
    given, 1 for a fault, 2 for wrong settings.

    \b
    Example:
      s3discovery doctor -c s3discovery.properties --read-only
    """
    from s3discovery import screens
    from s3discovery.doctor import as_json, examine, exit_code
    from s3discovery.doctor.show import Table

    start_logging(log_level, "error", with_remarks=False)
    table = Table()
    findings = until_signal(
        examine(origins, table.add if form == "table" else lambda finding: None, read_only=read_only)
    )
    if findings is None:
        raise click.Abort
    if form == "json":
        screens.print_json(as_json(findings, strict=strict))
    else:
        table.end(findings)
    code = exit_code(findings, strict=strict)
    if code:
        raise click.exceptions.Exit(code)
