"""The recipes, as they stand in the repository: agents on a real bucket, and the real programs.

EMQX and VerneMQ cannot be run here: stand-ins record what they are asked. That proves the argument vectors,
and no more.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from s3discovery import codec
from s3discovery.brokers import Engine, Surroundings
from s3discovery.brokers.command import command_broker
from s3discovery.credentials import FixedCredentials
from s3discovery.demo.child import choose_ports, start
from s3discovery.errors import AddressError, BrokerError
from s3discovery.node import Address, Member, NodeFile
from s3discovery.outputs.template import OutputTemplate
from s3discovery.presentation import make_roster
from s3discovery.s3 import S3Bucket
from s3discovery.settings import sources
from s3discovery.settings.config import Settings, parse
from s3discovery.settings.keys.command import BUILT_IN
from s3discovery.testing import HOSTILE_TEXTS, MARK
from s3discovery.testing.stores import way_to

RECIPES = Path(__file__).parents[2] / "recipes"
LIMIT_S = 40.0


def program(name: str) -> str:
    """Return the path of a program; skip or fail without it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"REQUIRE_SERVERS=1, but {name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


class Agents:
    """Agents with the settings of a recipe, on a bucket of their own; all end with the test."""

    def __init__(self, seaweedfs: Any, folder: Path, stack: AsyncExitStack) -> None:
        self.server = seaweedfs
        self.bucket_name = seaweedfs.new_bucket()
        self.folder = folder
        self._stack = stack

    def options(self, recipe: str) -> dict[str, str]:
        """Return a recipe's settings as the tests need them: this bucket, quicker, on loopback."""
        return dict(sources.read_properties(RECIPES / recipe / "s3discovery.properties")) | {
            **way_to(self.bucket_name, self.server.endpoint, self.server.credentials),
            "poll-interval": "300ms",
            "update-interval": "1s",
            "file-expiration": "3s",
            "bind-address": "127.0.0.1",
        }

    def settings(self, recipe: str, **more: str) -> Settings:
        return parse(self.options(recipe) | {key.replace("_", "-"): text for key, text in more.items()})

    async def start(
        self, recipe: str, cluster_id: str, *child: str, **more: str
    ) -> asyncio.subprocess.Process:
        """Start `s3discovery run`, in front of `child` if there is one; its log is <cluster id>.log."""
        values = self.options(recipe) | {"cluster-id": cluster_id}
        values |= {key.replace("_", "-"): text for key, text in more.items()}
        options = [part for key, text in values.items() for part in ("-o", f"{key}={text}")]
        with (self.folder / f"{cluster_id}.log").open("ab") as log:
            process = await start(
                [sys.executable, "-m", "s3discovery", "run", "-c", os.devnull, *options]
                + (["--", *child] if child else []),
                folder=self.folder,
                environ={"PATH": f"{self.folder}:{os.environ['PATH']}:/usr/sbin", "HOME": str(self.folder)},
                log=log,
            )
        self._stack.push_async_callback(self.kill, process)
        return process

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        """Kill an agent with all it started, as a machine dies."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    @asynccontextmanager
    async def bucket(self) -> AsyncIterator[S3Bucket]:
        keys = FixedCredentials(self.server.credentials)
        endpoint = self.server.endpoint
        async with S3Bucket(
            name=self.bucket_name, region="us-east-1", endpoint=endpoint, credentials=keys
        ) as bucket:
            yield bucket

    def log(self, cluster_id: str) -> str:
        return (self.folder / f"{cluster_id}.log").read_text(errors="replace")


@pytest.fixture
async def agents(seaweedfs: Any, tmp_path: Path) -> AsyncIterator[Agents]:
    async with AsyncExitStack() as stack:
        yield Agents(seaweedfs, tmp_path, stack)


async def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - files and processes set no events
            await asyncio.sleep(0.05)


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_every_recipe_is_complete_and_says_first_whether_it_was_run() -> None:
    for recipe in (each for each in RECIPES.iterdir() if each.is_dir()):
        readme = (recipe / "README.md").read_text().splitlines()
        assert readme[0].startswith(("Run in the tests", "Not run in the tests")), recipe
        assert f"]({recipe.name})" in (RECIPES / "README.md").read_text()
        values = sources.read_properties(recipe / "s3discovery.properties")
        parse(values)
    assert set(BUILT_IN) >= {
        parse(sources.read_properties(file)).output_template
        for file in RECIPES.glob("*/s3discovery.properties")
        if "output-file" in file.read_text()
    }


class Star:
    """Mosquittos behind agents, with the recipe's own configuration but for ports and folders."""

    def __init__(self, agents: Agents, *names: str) -> None:
        self.agents = agents
        self.mosquitto = program("mosquitto")
        self.ports = choose_ports(names)
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        folder = self.agents.folder / name
        (folder / "conf.d").mkdir(parents=True, exist_ok=True)
        text = (RECIPES / "mosquitto" / "mosquitto.conf").read_text()
        text = text.replace("listener 1883", f"listener {self.ports[name]} 127.0.0.1")
        text = text.replace("/var/lib/mosquitto/", f"{folder}/").replace(
            "/etc/mosquitto/conf.d", f"{folder}/conf.d"
        )
        (folder / "mosquitto.conf").write_text(f"{text}user {os.environ.get('USER', 'root')}\n")
        self.processes[name] = await self.agents.start(
            "mosquitto",
            name,
            *(self.mosquitto, "-c", str(folder / "mosquitto.conf")),
            bind_port=str(self.ports[name]),
            output_file=str(folder / "conf.d" / "s3discovery.conf"),
        )

    def bridges(self, name: str) -> str:
        return text_of(self.agents.folder / name / "conf.d" / "s3discovery.conf")

    async def kill(self, name: str) -> None:
        await self.agents.kill(self.processes.pop(name))

    async def check(self, round_: str) -> None:
        """Wait until the star stands; then every message must reach every node, once."""
        async with AsyncExitStack() as stack, asyncio.timeout(LIMIT_S):
            clients = {name: await stack.enter_async_context(self._client(name)) for name in self.processes}
            seen = {name: Counter[str]() for name in clients}
            for name, client in clients.items():
                task = asyncio.create_task(self._count(client, seen[name]))
                stack.callback(task.cancel)
                await client.subscribe("room/#", qos=1)
            await self._all_reach_all(clients, seen, f"{round_} probe")
            for number in range(20):
                for name, client in clients.items():
                    await client.publish("room/1", f"{round_} {name} {number}", qos=number % 2)
            # Whatever comes behind the last message of its own sender would be a second copy of it.
            await self._all_reach_all(clients, seen, f"{round_} end")
        wanted = {f"{round_} {name} {number}": 1 for name in clients for number in range(20)}
        for counts in seen.values():
            got = {text: count for text, count in counts.items() if "probe" not in text and "end" not in text}
            assert got == wanted
            assert max(counts.values()) == 1

    async def _all_reach_all(
        self, clients: Mapping[str, aiomqtt.Client], seen: Mapping[str, Counter[str]], what: str
    ) -> None:
        number = 0
        while True:
            number += 1
            texts = {f"{what} {name} {number}" for name in clients}
            for name, client in clients.items():
                await client.publish("room/1", f"{what} {name} {number}", qos=1)
            with suppress(TimeoutError):
                await until(partial(_have_all, seen, texts), limit_s=0.5)
                return

    async def _count(self, client: aiomqtt.Client, counts: Counter[str]) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            counts[message.payload.decode()] += 1

    @asynccontextmanager
    async def _client(self, name: str) -> AsyncIterator[aiomqtt.Client]:
        while True:
            client = aiomqtt.Client("127.0.0.1", self.ports[name], timeout=1)
            try:
                await client.__aenter__()
                break
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)
        try:
            yield client
        finally:
            with suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def until_hub(self, hub: str) -> None:
        """Wait until every node's file names this hub, and each but the hub has a bridge."""
        await until(lambda: all(f"# hub: {hub}\n" in self.bridges(name) for name in self.processes))
        assert [name for name in self.processes if "connection" not in self.bridges(name)] == [hub]


def _have_all(seen: Mapping[str, Counter[str]], texts: set[str]) -> bool:
    return all(texts <= counts.keys() for counts in seen.values())


async def test_mosquittos_form_a_star_and_outlive_its_hub(agents: Agents) -> None:
    star = Star(agents, "a", "b", "c")
    await asyncio.gather(*(star.start(name) for name in ("a", "b", "c")))
    await star.until_hub("a")
    await star.check("first")
    await star.kill("a")
    await star.until_hub("b")
    await star.check("second")
    await star.start("a")
    await star.until_hub("a")
    await star.check("third")


async def greet(port: int) -> str:
    """Return the name of the server that answers, empty if there is none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        said = await reader.readline()
        writer.close()
        return said.decode().strip()
    except OSError:
        return ""


@asynccontextmanager
async def echo(name: str, port: int) -> AsyncIterator[None]:
    """A server that says its name to whoever says something."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if await reader.readline():
                writer.write(f"{name}\n".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def test_haproxy_serves_the_members_and_is_reloaded(agents: Agents) -> None:
    haproxy = program("haproxy")
    ports = choose_ports(["front", "a", "b"])
    folder = agents.folder
    main, rendered, pid_file = folder / "haproxy.cfg", folder / "mqtt.cfg", folder / "haproxy.pid"
    text = (RECIPES / "haproxy" / "haproxy.cfg").read_text()
    text = text.replace("bind :1883", f"bind 127.0.0.1:{ports['front']}")
    main.write_text(text.replace("global\n", f"global\n    pidfile {pid_file}\n"))
    files = ["-f", str(main), "-f", str(rendered)]
    async with AsyncExitStack() as stack:
        for name in ("a", "b"):
            await stack.enter_async_context(echo(name, ports[name]))
        # In the place of `systemctl reload`, what Debian's unit does for it: SIGUSR2 to the master process.
        await agents.start(
            "haproxy",
            "a",
            *(haproxy, "-W", "-db", *files),
            output_file=str(rendered),
            output_variables="balance=roundrobin",
            bind_port=str(ports["a"]),
            output_reload="",
            output_signal="USR2:child",
        )
        await until(lambda: f"server a 127.0.0.1:{ports['a']}\n" in text_of(rendered))
        await _until_answers(ports["front"], {"a"})
        subprocess.run([haproxy, "-c", "-q", *files], check=True, timeout=20)
        await agents.start("prometheus", "b", bind_port=str(ports["b"]), output_file=str(folder / "targets"))
        await _until_answers(ports["front"], {"a", "b"})
        subprocess.run([haproxy, "-c", "-q", *files], check=True, timeout=20)
    targets = json.loads((folder / "targets").read_text())
    assert targets == [
        {"targets": ["127.0.0.1:9119"], "labels": {"cluster_id": "a"}},
        {"targets": ["127.0.0.1:9119"], "labels": {"cluster_id": "b"}},
    ]


async def _until_answers(port: int, names: set[str]) -> None:
    """Wait until these servers, and no other, answer through HAProxy."""
    async with asyncio.timeout(LIMIT_S):
        while {await greet(port) for _ in range(6)} != names:  # noqa: ASYNC110 - servers set no events
            await asyncio.sleep(0.1)


async def test_hosts_keep_the_lines_of_others(agents: Agents) -> None:
    hosts = agents.folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    await agents.start("hosts", "a", output_file=str(hosts))
    other = await agents.start("hosts", "b", output_file=str(agents.folder / "others"))
    await until(lambda: "127.0.0.1 b.mqtt.internal\n" in hosts.read_text())
    hosts.write_text(hosts.read_text() + "::1 mine\n")
    other.terminate()
    await until(lambda: " b." not in hosts.read_text())
    lines = hosts.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("127.0.0.1 localhost", "::1 mine")
    assert "127.0.0.1 a.mqtt.internal" in lines


# A stand-in: records its arguments, plays a cluster of Erlang nodes whose state is a file.
STAND_IN = """#!{python}
import json, sys
folder, own = {folder!r}, {own!r}
with open(folder + "/argv", "a") as file:
    print(json.dumps(sys.argv), file=file)
words = sys.argv[1:]
state = folder + "/state"
try:
    nodes = json.load(open(state))
except FileNotFoundError:
    nodes = {{own: True}}
if "join" in words:
    nodes[words[-1].removeprefix("discovery-node=")] = True
elif "force-leave" in words or (words[1:2] == ["leave"] and "node=" + own not in words and len(words) > 2):
    del nodes[words[-1].removeprefix("node=")]
json.dump(nodes, open(state, "w"))
if "--json" in words:
    up = [name for name in nodes if nodes[name]]
    down = [name for name in nodes if not nodes[name]]
    print(json.dumps({{"running_nodes": up, "stopped_nodes": down}}, indent=4))
elif "show" in words:
    print("+----+-------+\\n|Node|Running|\\n+----+-------+")
    for name, is_up in nodes.items():
        print(f"|{{name}} | {{str(is_up).lower()}}  |")
    print("+----+-------+")
"""


@pytest.mark.parametrize(
    ("recipe", "tool", "own", "other", "argvs"),
    [
        (
            "emqx",
            "emqx",
            "emqx@10.0.0.1",
            "emqx@10.0.0.2",
            [
                ["ctl", "cluster", "join", "emqx@10.0.0.2"],
                ["ctl", "cluster", "force-leave", "emqx@10.0.0.2"],
                ["ctl", "cluster", "leave"],
            ],
        ),
        (
            "vernemq",
            "vmq-admin",
            "VerneMQ@10.0.0.1",
            "VerneMQ@10.0.0.2",
            [
                ["cluster", "join", "discovery-node=VerneMQ@10.0.0.2"],
                ["cluster", "leave", "node=VerneMQ@10.0.0.2"],
                ["cluster", "leave", "node=VerneMQ@10.0.0.1", "-k"],
            ],
        ),
    ],
)
async def test_erlang_brokers_are_asked_as_they_want_it(
    agents: Agents, recipe: str, tool: str, own: str, other: str, argvs: list[list[str]]
) -> None:
    folder = agents.folder
    (folder / tool).write_text(STAND_IN.format(python=sys.executable, folder=str(folder), own=own))
    (folder / tool).chmod(0o755)
    members = str(RECIPES / recipe / f"{recipe}-members")
    settings = agents.settings(recipe, command_cluster=members, cluster_id=own)
    environ = {"PATH": f"{folder}:{os.environ['PATH']}"}
    peer = Member(other, Address("10.0.0.2", 4370))
    async with command_broker(
        Surroundings(settings, own, environ=environ, own=lambda: Member(own, Address("10.0.0.1", 4370)))
    ) as engine:
        assert isinstance(engine, Engine)
        assert await engine.is_blank()
        await engine.join(peer)
        assert not await engine.is_blank()
        await engine.apply(frozenset({peer}))
        assert await engine.cluster() == frozenset({other})
        (folder / "state").write_text(json.dumps({own: True, other: False}))
        assert not await engine.is_blank()
        assert await engine.down() == {other}
        await engine.forget(other)
        assert await engine.is_blank()
        await engine.leave()
    ran = [json.loads(line)[1:] for line in (folder / "argv").read_text().splitlines()]
    assert [argv for argv in ran if "status" not in argv and "show" not in argv] == argvs
    (folder / tool).write_text("#!/bin/sh\necho 'Node is not responding'\nexit 1\n")
    async with command_broker(Surroundings(settings, own, environ=environ)) as engine:
        assert isinstance(engine, Engine)
        with pytest.raises(BrokerError, match=r"ended with code 1"):
            await engine.is_blank()


# A stand-in for all nodes together: which of them are in one cluster stands in a file that they share.
SHARED_STAND_IN = """#!{python}
import fcntl, json, os, sys
own, words = os.environ["S3DISCOVERY_OWN_ID"], sys.argv[1:]
with open({state!r}, "a+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0)
    state = json.loads(file.read() or '{{"cluster": {{}}, "joins": []}}')
    cluster = state["cluster"]
    cluster.setdefault(own, own)
    mates = [name for name in cluster if cluster[name] == cluster[own]]
    if "join" in words and len(mates) > 1:
        print("Failed to join the cluster: already_in_cluster")
    elif "join" in words:
        cluster[own] = cluster[words[-1]]
        state["joins"].append([own, words[-1]])
    file.truncate(0)
    file.write(json.dumps(state))
if "--json" in words:
    print(json.dumps({{"running_nodes": mates, "stopped_nodes": []}}))
"""


async def test_emqx_nodes_started_at_once_would_form_one_cluster(agents: Agents) -> None:
    """Formation and commands together, with a stand-in for EMQX: it proves who is asked to join whom."""
    folder, state = agents.folder, agents.folder / "state"
    (folder / "emqx").write_text(SHARED_STAND_IN.format(python=sys.executable, state=str(state)))
    (folder / "emqx").chmod(0o755)
    names = [f"emqx@10.0.0.{number}" for number in (1, 2, 3)]
    members = str(RECIPES / "emqx" / "emqx-members")
    more = {"command_cluster": members, "stable_margin": "500ms"}
    await asyncio.gather(*(agents.start("emqx", name, **more) for name in names))
    await until(lambda: all("cluster formed 3/3" in agents.log(name) for name in names))
    found = json.loads(state.read_text())
    assert len(set(found["cluster"].values())) == 1
    assert len(found["joins"]) == 2
    assert found["cluster"].keys() == set(names)


async def plant(agents: Agents, prefix: str, port: int) -> int:
    """Write node files as an enemy would: hostile ids, hosts and ports; return how many were taken."""
    taken = 0
    async with agents.bucket() as bucket:
        for number, text in enumerate(HOSTILE_TEXTS):
            rows: list[tuple[str, bytes]] = []
            for cluster_id, host in ((text, "127.0.0.1"), (f"h{number}", text)):
                with suppress(AddressError):
                    node_file = NodeFile("4", 1, cluster_id, Address(host, port))
                    with suppress(Exception):
                        rows.append((cluster_id, codec.encode(node_file, "4")))
                fields = f"4||||1||||{cluster_id}||||{host}||||{port}"
                rows.append((cluster_id, base64.b64encode(fields.encode())))
            rows.append(
                (f"p{number}", base64.b64encode(f"4||||1||||p{number}||||127.0.0.1||||{text}".encode()))
            )
            for cluster_id, body in rows:
                with suppress(Exception):  # some keys the store itself refuses
                    await bucket.put(prefix + cluster_id, body)
                    taken += 1
    return taken


async def test_hostile_files_in_the_bucket_reach_nobody(agents: Agents) -> None:
    folder = agents.folder
    outputs = folder / "outputs"
    outputs.mkdir()
    for name in BUILT_IN:
        (outputs / f"{name}.properties").write_text(
            f"output-file:{folder / 'rendered'}-{name}\noutput-template:{name}\n"
            f"output-reload:{folder / 'record'} {{peers}} {{peer_ids...}} {{peer_hosts...}} {{hub_id}}\n"
        )
    record = folder / "record"
    record.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"told = json.dumps([sys.argv, dict(os.environ), sys.stdin.read()])\n"
        f"open({str(folder / 'told')!r}, 'a').write(told + chr(10))\n"
    )
    record.chmod(0o755)
    words = "{peers} {peers...} {peer_ids...} {member_hosts...} {hub_address} {joined_ids...}"
    taken = await plant(agents, "mqtt/", 1883)
    assert taken > len(HOSTILE_TEXTS), "the store must have taken most of them"
    more = {"broker": "command", "command": f"{record} {words}", "output_folder": str(outputs)}
    await agents.start("prometheus", "own", output_file=str(folder / "targets"), **more)
    await until(lambda: "own" in text_of(folder / "rendered-json") and "member skipped" in agents.log("own"))
    await agents.start("prometheus", "good", output_file=str(folder / "others"))
    await until(lambda: "good" in text_of(folder / "rendered-json") and "good" in text_of(folder / "told"))
    await until(lambda: all("good" in text_of(folder / f"rendered-{name}") for name in BUILT_IN))
    skipped = agents.log("own").count("member skipped")
    assert skipped >= len(HOSTILE_TEXTS) // 2
    for file in (*folder.glob("rendered-*"), folder / "targets", folder / "told"):
        assert MARK not in file.read_text(), file
    assert not [each for each in folder.rglob(f"*{MARK}*") if each.is_file()]


def test_odd_ids_make_no_file_that_haproxy_refuses(tmp_path: Path) -> None:
    odd = [Member("rabbit@x-1.y", Address("::1", 1)), Member("_x.", Address("a_b.example", 2))]
    own = Member("z", Address("127.0.0.1", 3))
    config = tmp_path / "haproxy.cfg"
    config.write_bytes(
        (RECIPES / "haproxy" / "haproxy.cfg").read_bytes()
        + OutputTemplate("haproxy", {}).render(make_roster(own, odd), {})
    )
    subprocess.run([program("haproxy"), "-c", "-q", "-f", str(config)], check=True, timeout=20)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page that are of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_systemd_takes_the_units_of_the_pages(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    pages = [RECIPES.parent / "docs" / "how-to" / name for name in ("any-broker.md", "mosquitto.md")]
    units = [unit for page in pages for unit in blocks(page, "ini")]
    assert len(units) == 2
    for number, unit in enumerate(units):
        file = tmp_path / f"s3discovery-{number}.service"
        # That the program is there is checked, too: the one that runs the tests stands in for it.
        file.write_text(unit.replace("/usr/local/bin/s3discovery", sys.executable))
        checked = subprocess.run(
            [analyze, "verify", "--man=no", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = [line for line in checked.stderr.splitlines() if file.name in line]
        assert (checked.returncode, said) == (0, [])


def test_the_page_shows_the_recipe() -> None:
    page = RECIPES.parent / "docs" / "how-to" / "mosquitto.md"
    recipe = RECIPES / "mosquitto"
    for language, name in (
        *(("properties", "s3discovery.properties"), ("conf", "mosquitto.conf")),
        ("ini", "s3discovery-mosquitto.service"),
    ):
        assert blocks(page, language)[0] == (recipe / name).read_text()


def test_settings_on_the_page_are_settings(tmp_path: Path) -> None:
    page = RECIPES.parent / "docs" / "how-to" / "any-broker.md"
    file = tmp_path / "x.properties"
    for block in blocks(page, "properties"):
        file.write_text(block)
        required = {
            "s3-bucket-region": "r",
            "s3-bucket-name": "bucket",
            "file-prefix": "mqtt/",
            "file-expiration": "60s",
            "update-interval": "20s",
        }
        parse(required | sources.read_properties(file))
