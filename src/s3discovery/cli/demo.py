"""`s3discovery demo`: all of it on this machine."""

import sys

import click

from s3discovery.cli.options import start_logging
from s3discovery.cli.signals import until_signal

_INTERRUPTED = 130  # what shells say of Ctrl-C


@click.command()
@click.option(
    "--nodes", type=click.IntRange(3, 10), default=3, show_default=True, help="How many nodes start."
)
@click.option(
    "--broker",
    type=click.Choice(["amqtt", "rabbitmq", "nats"]),
    default="amqtt",
    show_default=True,
    help="Which broker is clustered; RabbitMQ must be installed.",
)
@click.option("--keep", is_flag=True, help="Leave everything running, print the addresses, wait for Ctrl-C.")
def demo(nodes: int, broker: str, keep: bool) -> None:
    """Show it all on this machine: a real S3 server, real brokers, a real MQTT client.

    Nodes start, find each other, pass a message on, one joins late, one is killed, one leaves; every step
    is verified and timed. Nothing is left running.

    \b
    Example:
      s3discovery demo --nodes 5
      s3discovery demo --broker rabbitmq
    """
    from s3discovery.demo.scenario import run_demo

    start_logging(None, "error")
    held = until_signal(run_demo(nodes=nodes, keep=keep, broker=broker))
    sys.exit(_INTERRUPTED if held is None else 0 if held else 1)
