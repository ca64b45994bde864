"""`s3discovery policy`: the least that AWS has to allow."""

from collections.abc import Iterable
from dataclasses import replace

import click

from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.wiring import Origins


@click.command()
@common
@format_option("json", "cloudformation", "terraform")
@click.option("--read-only", is_flag=True, help="For those who only look (members, watch, status).")
@click.option(
    "--lifecycle", is_flag=True, help="A rule of the bucket instead: it removes what nobody refreshed."
)
def policy(origins: Origins, log_level: str | None, form: str, read_only: bool, lifecycle: bool) -> None:
    """Print the least IAM policy for the configured bucket and prefix. Asks nobody, changes nothing.

    The document alone goes to standard output; remarks go to standard error.

    \b
    Example:
      s3discovery policy -c s3discovery.properties --format terraform
    """
    from s3discovery.aws import policy_formats
    from s3discovery.aws.policy import lifecycle_remarks, make_lifecycle_rule, make_policy, remarks

    if lifecycle and read_only:
        raise click.UsageError("--read-only and --lifecycle exclude each other: a rule has no readers.")
    start_logging(log_level, "warning")
    settings = _without_keys(origins).read()
    if lifecycle:
        rule = make_lifecycle_rule(settings)
        document, said = policy_formats.render_lifecycle(rule, form), lifecycle_remarks(rule)
    else:
        allowed = make_policy(settings, read_only=read_only)
        document, said = policy_formats.render_policy(allowed, form, read_only=read_only), remarks(settings)
    _remark(said)
    click.echo(document, nl=False)


def _without_keys(origins: Origins) -> Origins:
    """Return what needs no keys: the policy comes before them. Anonymous stays, which has a remark."""
    kind = origins.values().get("credentials-type")
    if kind is None or kind.text.strip() == "anonymous":
        return origins
    return replace(origins, options=(*origins.options, "credentials-type=default"))


def _remark(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"note: {text}", err=True)
