"""HiveMQ: what its config.xml says, where that is found, and who can be its peer."""

import asyncio
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from s3discovery.agent import Agent, Parts
from s3discovery.brokers import Addressed, Engine, Surroundings
from s3discovery.brokers.hivemq import HivemqBroker, Installation
from s3discovery.brokers.hivemq.transport import WrongConfigError, expand, read_transport
from s3discovery.bucket import Bucket
from s3discovery.doctor.examination import locate_hivemq
from s3discovery.errors import BrokerError, SettingsError
from s3discovery.node import Address, Member
from s3discovery.own_address import find_own_address
from s3discovery.settings.config import Settings
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

DISCOVERY = "<discovery><extension><reload-interval>30</reload-interval></extension></discovery>"
NO_VARIABLES: dict[str, str] = {}


def config(transport: str, *, enabled: str = "<enabled>true</enabled>", discovery: str = DISCOVERY) -> str:
    return (
        '<?xml version="1.0"?>\n'
        '<hivemq xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        "<listeners><tcp-listener><port>1883</port><bind-address>0.0.0.0</bind-address></tcp-listener>"
        "</listeners>\n"
        f"<cluster>{enabled}<transport>{transport}</transport>{discovery}</cluster>\n"
        "</hivemq>\n"
    )


def tcp(**elements: str) -> str:
    return within("tcp", **elements)


def within(kind: str, **elements: str) -> str:
    inner = "".join(f"<{n.replace('_', '-')}>{t}</{n.replace('_', '-')}>" for n, t in elements.items())
    return f"<{kind}>{inner}</{kind}>"


def read(text: str, variables: dict[str, str] = NO_VARIABLES) -> tuple[str | None, int]:
    found = read_transport(text.encode(), variables.get)
    return found.host, found.port


def refusal(text: str, variables: dict[str, str] = NO_VARIABLES) -> str:
    with pytest.raises(WrongConfigError) as caught:
        read(text, variables)
    return str(caught.value)


# What config.xml says.


@pytest.mark.parametrize("piece", ["${", "${\n", "${ENV:", "}${"])
def test_placeholders_that_never_end_take_no_time(piece: str) -> None:
    text = piece * (600_000 // len(piece))
    began_s = time.process_time()
    assert expand(text, lambda name: None) == text
    assert time.process_time() - began_s < 1.0


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_external_address_is_what_peers_dial(kind: str) -> None:
    bound = {"bind_address": "10.0.0.5", "bind_port": "7800"}
    assert read(config(within(kind, **bound))) == ("10.0.0.5", 7800)
    outside = {"external_address": "node-1.example.com", "external_port": "17800"}
    assert read(config(within(kind, **bound, **outside))) == ("node-1.example.com", 17800)
    assert read(config(within(kind, **bound, external_address="1.2.3.4"))) == ("1.2.3.4", 7800)
    assert read(config(within(kind, **bound, external_port="17800"))) == ("10.0.0.5", 17800)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"bind_port": "7000"}, (None, 7000)),
        ({"bind_port": "7000", "bind_address": "0.0.0.0"}, (None, 7000)),
        ({"bind_port": "7000", "bind_address": "::"}, (None, 7000)),
        ({"bind_port": "7000", "bind_address": ""}, (None, 7000)),
        ({"bind_port": " 7000\n", "bind_address": "\n 10.0.0.5 "}, ("10.0.0.5", 7000)),
        ({"bind_port": "7000", "bind_address": "2001:db8::5"}, ("2001:db8::5", 7000)),
        ({"bind_port": "7000", "external_port": "0"}, (None, 7000)),
        ({"external_port": "7001"}, (None, 7001)),
    ],
)
def test_what_is_left_open(elements: dict[str, str], expected: tuple[str | None, int]) -> None:
    assert read(config(tcp(**elements))) == expected


def test_more_in_the_transport_is_no_trouble() -> None:
    udp = "<udp><bind-port>7800</bind-port><multicast-enabled>false</multicast-enabled></udp>"
    assert read(config(udp)) == (None, 7800)
    tls = "<tcp><bind-port>7800</bind-port><tls><enabled>true</enabled></tls></tcp>"
    assert read(config(tls)) == (None, 7800)


@pytest.mark.parametrize("enabled", ["true", "1", " true ", "TRUE"])
@pytest.mark.parametrize("name", ["extension", "plugin"])
def test_on_and_asking_an_extension(enabled: str, name: str) -> None:
    text = config(
        tcp(bind_port="7800"),
        enabled=f"<enabled>{enabled}</enabled>",
        discovery=f"<discovery><{name}/></discovery>",
    )
    assert read(text) == (None, 7800)


@pytest.mark.parametrize("enabled", ["", "<enabled>false</enabled>", "<enabled/>", "<enabled>yes</enabled>"])
def test_a_cluster_that_is_off(enabled: str) -> None:
    problem = refusal(config(tcp(bind_port="7800"), enabled=enabled))
    assert "<enabled> in hivemq/cluster" in problem
    assert "write <enabled>true</enabled>" in problem


@pytest.mark.parametrize(
    ("discovery", "named"),
    [
        ("", "nothing"),
        ("<discovery/>", "nothing"),
        ("<discovery><static><node/></static></discovery>", "<static>"),
        ("<discovery><broadcast/></discovery>", "<broadcast>"),
        ("<discovery><extension/><static/></discovery>", "<extension>, <static>"),
    ],
)
def test_a_discovery_that_asks_no_extension(discovery: str, named: str) -> None:
    problem = refusal(config(tcp(bind_port="7800"), discovery=discovery))
    assert f"<discovery> in hivemq/cluster names {named}" in problem
    assert "write <discovery><extension/></discovery>" in problem


@pytest.mark.parametrize(
    ("transport", "named"),
    [("", "nothing"), ("<tcp/><udp/>", "<tcp>, <udp>"), ("<sctp/>", "<sctp>")],
)
def test_a_transport_that_is_neither(transport: str, named: str) -> None:
    problem = refusal(config(transport))
    assert f"<transport> in hivemq/cluster names {named}" in problem
    assert "one of <tcp> and <udp>" in problem


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, "<bind-port> in hivemq/cluster/transport/tcp is missing"),
        ({"bind_port": "0"}, "<bind-port> in hivemq/cluster/transport/tcp is '0': write a port from 1"),
        ({"bind_port": "65536"}, "is '65536': write a port"),
        ({"bind_port": "x"}, "is 'x': write a port"),
        ({"bind_port": "7800", "external_port": "-1"}, "<external-port> in hivemq/cluster/transport/tcp"),
        ({"bind_port": "7800", "bind_address": "10.0.0.256"}, "is '10.0.0.256': write an IP address"),
        ({"bind_port": "7800", "bind_address": "10.0.0.5:7800"}, "is '10.0.0.5:7800': write an IP"),
        ({"bind_port": "7800", "external_address": "0.0.0.0"}, "is '0.0.0.0': write the address"),
    ],
)
def test_addresses_that_nobody_can_dial(elements: dict[str, str], expected: str) -> None:
    assert expected in refusal(config(tcp(**elements)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no well-formed XML"),
        ("<hivemq>", "no well-formed XML"),
        ("<hivemq/>", "no <cluster> in <hivemq>"),
        ("<other><cluster/></other>", "no <cluster> in <hivemq>"),
        ('<!DOCTYPE h [<!ENTITY x SYSTEM "file:///etc/passwd">]><hivemq>&x;</hivemq>', "document of type"),
        ('<!DOCTYPE lolz [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><hivemq>&b;</hivemq>', "document of type"),
    ],
)
def test_what_is_no_configuration(text: str, expected: str) -> None:
    assert expected in refusal(text)


# Placeholders.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${ENV:HOST}", "10.0.0.5"),
        ("${HOST}", "10.0.0.5"),
        ("${ENV:ENV:HOST}", "10.0.0.5"),
        ("a${HOST}b${ENV:PORT}c", "a10.0.0.5b7800c"),
        ("${EMPTY}", ""),
        ("${UNKNOWN}", "${UNKNOWN}"),
        ("$HOST {HOST} ${HOST", "$HOST {HOST} ${HOST"),
        ("${env:HOST}", "${env:HOST}"),
        ("${TRICKY}", r"\1$0${HOST}"),
    ],
)
def test_placeholders_are_replaced_as_hivemq_does(text: str, expected: str) -> None:
    variables = {"HOST": "10.0.0.5", "PORT": "7800", "EMPTY": "", "TRICKY": r"\1$0${HOST}"}
    assert expand(text, variables.get) == expected


def test_placeholders_in_the_configuration() -> None:
    text = config(tcp(bind_address="${ENV:HIVEMQ_BIND_ADDRESS}", bind_port="${HIVEMQ_CLUSTER_PORT}"))
    variables = {"HIVEMQ_BIND_ADDRESS": "10.0.0.5", "HIVEMQ_CLUSTER_PORT": "8000"}
    assert read(text, variables) == ("10.0.0.5", 8000)
    # HiveMQ replaces in the text: what is put in may be elements.
    assert read(config("${TRANSPORT}"), {"TRANSPORT": tcp(bind_port="7800")}) == (None, 7800)


def test_bytes_of_another_encoding_hurt_where_they_are_needed_alone() -> None:
    # A variable of the environment that is no UTF-8 holds lone surrogates.
    text = config(tcp(bind_address="${HOST}", bind_port="7800")) + "<!-- ${OTHER} -->"
    assert read(text, {"HOST": "10.0.0.5", "OTHER": "caf\udce9"}) == ("10.0.0.5", 7800)
    assert "<bind-address>" in refusal(text, {"HOST": "caf\udce9", "OTHER": ""})
    assert read_transport(text.replace("${OTHER}", "é").encode("latin-1"), {"HOST": "h"}.get).host == "h"


def test_a_placeholder_that_stands_for_nothing_matters_where_it_is_needed() -> None:
    text = config(tcp(bind_address="${MISSING}", bind_port="7800")).replace("1883", "${OTHER}")
    problem = refusal(text)
    assert "<bind-address> in hivemq/cluster/transport/tcp is '${MISSING}'" in problem
    assert "set external-address" in problem
    assert "OTHER" not in problem
    assert "set external-port" in refusal(config(tcp(bind_port="${ENV:MISSING}")))


# Where it is.


def install(folder: Path, text: str = config(tcp(bind_address="10.0.0.5", bind_port="7800"))) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.xml"
    path.write_text(text, encoding="utf-8")
    return path


def hivemq(**values: str) -> Settings:
    return make_settings(broker="hivemq", dns_listen="127.0.0.1:5353", **values)


def test_the_configuration_is_found_as_hivemq_finds_it(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "folder"
    settings = hivemq()

    def path(**environ: str) -> Path:
        return Installation(settings, environ).path

    assert path() == Path("/opt/hivemq/conf/config.xml")
    assert path(HIVEMQ_HOME=str(home)) == home / "conf/config.xml"
    assert path(HIVEMQ_HOME=str(home), HIVEMQ_CONFIG_FOLDER="conf-k8s") == home / "conf-k8s/config.xml"
    assert path(HIVEMQ_HOME=str(home), HIVEMQ_CONFIG_FOLDER=str(folder)) == folder / "config.xml"
    options = f"-Dhivemq.home=/elsewhere -Dhivemq.config.folder={folder}"
    assert path(HIVEMQ_HOME=str(home), JAVA_OPTS=options) == folder / "config.xml"
    set_by_hand = hivemq(hivemq_config=str(folder / "other.xml"))
    assert Installation(set_by_hand, {"HIVEMQ_HOME": str(home)}).path == folder / "other.xml"


def test_java_system_properties_win_over_variables(tmp_path: Path) -> None:
    install(tmp_path, config(tcp(bind_address="${WHERE}", bind_port="7800")))
    environ = {"HIVEMQ_CONFIG_FOLDER": str(tmp_path), "WHERE": "10.0.0.1"}
    assert Installation(hivemq(), environ).whereabouts().host == "10.0.0.1"
    environ["HIVEMQ_OPTS"] = "-DWHERE=10.0.0.2"
    assert Installation(hivemq(), environ).whereabouts().host == "10.0.0.2"
    # With java-pid its own command line counts alone; this process has no such property.
    of_this_process = hivemq(java_pid=str(os.getpid()))
    assert Installation(of_this_process, environ).whereabouts().host == "10.0.0.1"
    with pytest.raises(BrokerError, match="java-pid 4194304 cannot be looked at: No such"):
        Installation(hivemq(java_pid="4194304"), environ)


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    environ = {"HIVEMQ_HOME": str(tmp_path)}
    with pytest.raises(BrokerError) as caught:
        Installation(hivemq(), environ).whereabouts()
    assert f"'{tmp_path}/conf/config.xml' cannot be read: No such file" in str(caught.value)
    assert "write its path to hivemq-config" in str(caught.value)
    for half in ({"external_address": "10.0.0.9"}, {"external_port": "7801"}):
        with pytest.raises(BrokerError, match="set external-address and external-port"):
            Installation(hivemq(**half), environ).whereabouts()
    with pytest.raises(SettingsError, match="over 1048576 bytes"):
        Installation(
            hivemq(), {"HIVEMQ_HOME": str(install(tmp_path / "conf", " " * 1048577).parents[1])}
        ).whereabouts()


def test_a_wrong_configuration_is_named_with_its_path(tmp_path: Path) -> None:
    path = install(tmp_path, config(tcp(bind_port="x")))
    with pytest.raises(SettingsError) as caught:
        Installation(hivemq(hivemq_config=str(path)), {}).whereabouts()
    assert str(caught.value).startswith(f"1 problem in the configuration of HiveMQ:\n  - '{path}': ")
    assert "<bind-port> in hivemq/cluster/transport/tcp is 'x'" in str(caught.value)


def test_what_the_settings_say_need_not_be_right_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = install(tmp_path, config(tcp(bind_address="${MISSING}", bind_port="${MISSING}")))
    by_hand = {"external_address": "10.0.0.9", "external_port": "7801"}
    found = Installation(hivemq(hivemq_config=str(path), **by_hand), {}).whereabouts()
    assert (found.host, found.port) == (None, None)
    # Another container's file: nothing to read here, and nothing that is needed.
    elsewhere = Installation(hivemq(**by_hand), {"HIVEMQ_HOME": str(tmp_path / "none")}).whereabouts()
    assert (elsewhere.host, elsewhere.port) == (None, None)
    assert "hivemq not checked" in caplog.text
    with pytest.raises(BrokerError, match="cannot be read"):
        Installation(hivemq(hivemq_config=str(tmp_path / "none"), **by_hand), {}).whereabouts()
    # The rest is checked all the same.
    off = install(tmp_path, config(tcp(bind_port="7800"), enabled=""))
    with pytest.raises(SettingsError, match="<enabled>"):
        Installation(hivemq(hivemq_config=str(off), **by_hand), {}).whereabouts()


# The broker.


def test_dns_is_needed_and_asked_for() -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(broker="hivemq")
    (problem,) = caught.value.problems
    assert problem.key == "dns-listen"
    assert "HIVEMQ_DNS_SERVER_ADDRESS=127.0.0.1:5353" in problem.cure
    assert hivemq().dns_listen == "127.0.0.1:5353"
    with pytest.raises(SettingsError) as caught:
        make_settings(broker="hivemq", dns_listen="5353")
    assert len(caught.value.problems) == 1, "a wrong one is reported once"


@pytest.mark.parametrize("listen", ["[::1]:5353", "[2001:db8::1]:5353"])
def test_an_address_that_hivemq_cannot_be_given_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(broker="hivemq", dns_listen=listen)
    (problem,) = caught.value.problems
    assert problem.key == "dns-listen"
    assert "write dns-listen:127.0.0.1:5353" in problem.cure
    assert make_settings(broker="none", dns_listen=listen).dns_listen == listen


def member(name: str, host: str = "10.0.0.7", port: int = 7800) -> Member:
    return Member(name, Address(host, port))


async def test_who_can_be_a_peer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = install(tmp_path)
    own: list[Member] = []
    surroundings = Surroundings(hivemq(hivemq_config=str(path)), "a", own=lambda: own[0] if own else None)
    async with HivemqBroker(surroundings) as broker:
        assert isinstance(broker, Addressed)
        assert not isinstance(broker, Engine)
        assert (broker.host, broker.port, broker.cluster_id) == ("10.0.0.5", 7800, None)
        caplog.clear()
        good, odd, nowhere = member("b"), member("c", port=7801), member("d", host="-no;host")
        await broker.apply(frozenset({good, odd, nowhere}))
        assert broker.skipped == {"c", "d"}
        assert caplog.text.count("hivemq cannot dial") == 1
        await broker.apply(frozenset({good, odd, nowhere}))
        assert caplog.text.count("hivemq cannot dial") == 1
        own.append(member("a", port=7801))
        await broker.apply(frozenset({good, odd}))
        assert broker.skipped == {"b"}
        assert await broker.cluster() is None


@pytest.mark.parametrize(
    ("compatibility", "version", "warned"),
    [("hivemq-3", "4", 1), ("hivemq-3", "1", 0), ("hivemq-4", "4", 0), ("hivemq-4", "1", 0)],
)
async def test_nodes_that_cannot_read_our_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, compatibility: str, version: str, warned: int
) -> None:
    settings = hivemq(hivemq_config=str(install(tmp_path)), compatibility=compatibility)
    peer = replace(member("b"), version=version)
    async with HivemqBroker(Surroundings(settings, "a")) as broker:
        for _ in range(2):
            await broker.apply(frozenset({peer}))
    assert caplog.text.count("set compatibility:hivemq-4") == warned


async def test_the_doctor_knows_where_hivemq_listens(tmp_path: Path) -> None:
    path = install(tmp_path)
    found = await locate_hivemq(hivemq(hivemq_config=str(path)), {})
    assert (str(found.address), found.origin) == ("10.0.0.5:7800", str(path))
    by_hand = hivemq(hivemq_config=str(path), external_address="10.0.0.9", external_port="7801")
    found = await locate_hivemq(by_hand, {})
    assert (str(found.address), found.origin) == ("10.0.0.9:7801", "external-address")
    with pytest.raises(BrokerError, match="cannot be read"):
        await locate_hivemq(hivemq(hivemq_config=str(tmp_path / "none")), {})


@pytest.mark.parametrize(
    ("listen", "asked_at"),
    [
        ("127.0.0.1:5353", "127.0.0.1:5353"),
        ("localhost:53", "localhost:53"),
        ("0.0.0.0:5353", "127.0.0.1:5353"),
        ("[::]:5353", "127.0.0.1:5353"),
    ],
)
async def test_the_log_says_how_hivemq_is_to_be_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, listen: str, asked_at: str
) -> None:
    caplog.set_level(logging.INFO)
    config_path = str(install(tmp_path))
    settings = make_settings(
        broker="hivemq", hivemq_config=config_path, dns_name="mqtt.internal", dns_listen=listen
    )
    async with HivemqBroker(Surroundings(settings, "a")):
        pass
    assert f"HIVEMQ_DNS_SERVER_ADDRESS={asked_at} " in caplog.text
    assert "HIVEMQ_DNS_DISCOVERY_ADDRESS=mqtt.internal." in caplog.text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "10.0.0.5:7800"),
        ({"external_address": "node-1.example.com"}, "node-1.example.com:7800"),
        ({"external_port": "17800"}, "10.0.0.5:17800"),
        ({"bind_address": "10.0.0.8"}, "10.0.0.8:7800"),
    ],
)
async def test_the_agent_registers_what_peers_dial(
    tmp_path: Path, values: dict[str, str], expected: str
) -> None:
    clock = FakeClock()
    bucket = MemoryBucket(clock)
    settings = hivemq(hivemq_config=str(install(tmp_path)), cluster_id="a", **values)

    class Opened:
        async def __aenter__(self) -> Bucket:
            return bucket

        async def __aexit__(self, *_: object) -> None:
            return None

    parts = Parts(
        read_settings=lambda: settings,
        settings_mark=lambda: None,
        open_bucket=lambda _: Opened(),
        make_broker=HivemqBroker,
        find_address=lambda found, port: find_own_address(found, {}, port=port),
        make_cluster_id=lambda: "generated",
        clock=clock,
    )
    registered: list[str] = []
    running = asyncio.create_task(
        Agent(parts).run(lambda discovery, _: registered.append(str(discovery.own and discovery.own.address)))
    )
    async with asyncio.timeout(5):
        while not registered:
            await clock.settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert registered == [expected]
