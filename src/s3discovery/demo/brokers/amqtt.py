"""amqtt nodes: the broker runs in the agent's own process."""

from contextlib import AsyncExitStack
from pathlib import Path

from s3discovery.demo import child
from s3discovery.demo.launch import Launch


class AmqttNodes:
    """See `BrokerNodes`."""

    what = "an MQTT broker"
    is_engine = False
    step_limit_s = 30.0  # a step takes a second or so; this is for machines that do much else

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def prepare(self, stack: AsyncExitStack) -> None:
        """Do nothing: whether amqtt is installed shows when a node starts."""

    def launch(self, number: int) -> Launch:
        """Return how node `number` is started."""
        name = f"n{number}"
        port = child.choose_ports([name])[name]
        return Launch(
            name, port, {"broker": "amqtt", "bind-port": "0", "amqtt-listen": f"{child.HOST}:{port}"}
        )
