"""RabbitMQ without RabbitMQ: names, answers and complaints of rabbitmqctl, and what is called when."""

from pathlib import Path

import pytest

from s3discovery.brokers import Surroundings
from s3discovery.brokers.rabbitmq import RabbitBroker, faults
from s3discovery.brokers.rabbitmq.faults import diagnose, dissent, gist
from s3discovery.brokers.rabbitmq.home import Home
from s3discovery.brokers.rabbitmq.names import Variables, is_long, is_node_name
from s3discovery.brokers.rabbitmq.status import read_cluster_status, read_members_file, read_survey
from s3discovery.child import Child
from s3discovery.errors import BrokerError, SettingsError
from s3discovery.node import Address, Member
from s3discovery.testing import HOSTILE_TEXTS, make_settings

ADVICE = """Error: unable to perform an operation on node '{node}'. Please see diagnostics information [...]

Most common reasons for this are:

 * Target node is unreachable (e.g. due to hostname resolution, TCP connection or firewall issues)
 * CLI tool fails to authenticate with the server (e.g. due to CLI tool's Erlang cookie not matching [...])
 * Target node is not running

DIAGNOSTICS
===========

attempted to contact: [{node}]

{node}:
{lines}

Current node details:
 * node name: 'rabbitmqcli-165-rmq1@localhost'
 * effective user's home directory: /var/lib/rabbitmq
 * Erlang cookie hash: sdcI1mZYNhHjMKJpa0kc6Q==
"""


def advice(*lines: str, node: str = "rmq1@localhost") -> str:
    return ADVICE.format(node=node, lines="\n".join(f"  * {line}" for line in lines))


# As RabbitMQ 3.10.8 printed them here, unless a comment says where they are from.
COMPLAINTS = [
    (
        faults.COOKIE,
        advice(
            "connected to epmd (port 4369) on localhost",
            "epmd reports node 'rmq1' uses port 25672 for inter-node and CLI tool traffic ",
            "TCP connection succeeded but Erlang distribution failed ",
            "suggestion: check if the Erlang cookie is identical for all server nodes and CLI tools",
        ),
    ),
    (
        faults.NOT_RUNNING,
        advice(
            "connected to epmd (port 4369) on localhost",
            "epmd reports: node 'rmq1' not running at all",
            "suggestion: start the node",
        ),
    ),
    (
        faults.PORT_CLOSED,
        advice(
            "epmd reports node 'rmq1' uses port 19999 for inter-node and CLI tool traffic ",
            "can't establish TCP connection to the target node, reason: econnrefused (connection refused)",
        ),
    ),
    (
        faults.UNRESOLVED,
        advice("unable to connect to epmd (port 4369) on nohost: nxdomain (non-existing domain)"),
    ),
    (
        faults.NO_EPMD,
        advice("unable to connect to epmd (port 4369) on mq-2: econnrefused (connection refused)"),
    ),
    (
        faults.NAME_FORMS,
        "%Protocol.UndefinedError{protocol: String.Chars, value: {:error, {:node_name, :short}}}",
    ),
    (faults.NAME_FORMS, "Error:\n{:badarg, [{:rpc, :rpcify_exception, 2, [file: 'rpc.erl', line: 446]}]}"),
    (
        faults.NO_COOKIE,
        "06:41:44.638 [error] Failed to create cookie file '/nonexistent/.erlang.cookie': enoent",
    ),
    (faults.NO_RIGHTS, "\nOnly root or rabbitmq should run rabbitmqctl\n"),
    (
        faults.APP_STOPPED,
        "Error: this command requires the 'rabbit' app to be running on the target node. Start it with",
    ),
    (
        faults.APP_RUNNING,
        "Error: this command requires the 'rabbit' app to be stopped on the target node. Stop it with",
    ),
    (
        faults.STILL_RUNNING,
        "Error:\nRabbitMQ on node rmq2@localhost must be stopped with 'rabbitmqctl -n rmq2'",
    ),
    (faults.NO_MEMBER, "Error:\n{:not_a_cluster_node, 'The node selected is not in the cluster.'}"),
    # rabbit_version.erl, 3.10 to 4.3
    (
        faults.VERSIONS,
        "Error:\n{:inconsistent_cluster, 'OTP version mismatch: local node is 25, remote node 26'}",
    ),
    # rabbit_ff_controller.erl and rabbit_db_cluster.erl, 3.11 to 4.3
    (faults.FEATURE_FLAGS, "Error:\n:incompatible_feature_flags"),
    (faults.FEATURE_FLAGS, "Error:\n{:aborted_feature_flags_compat_check, {:error, :timeout}}"),
    # rabbit_khepri.erl, 4.x
    (
        faults.DISAGREES,
        "Error:\n{:inconsistent_cluster, 'Khepri: node rmq1@localhost thinks it\\'s clustered with node "
        "rmq3@localhost, but rmq3@localhost disagrees'}".replace("\\'", "'"),
    ),
    # default_output.ex, 4.x
    (
        faults.MINORITY,
        "Error:\nKhepri has timed out on node rmq1@localhost.\nKhepri cluster could be in minority.",
    ),
    # rabbit_mnesia.erl, 3.10
    (
        faults.ALONE,
        "Error:\n{:no_running_cluster_nodes, 'You cannot leave a cluster if no online nodes are present.'}",
    ),
    (faults.UNKNOWN, "Error:\n:something_new"),
]


@pytest.mark.parametrize(("name", "said"), COMPLAINTS, ids=[name for name, _ in COMPLAINTS])
def test_each_complaint_of_rabbitmqctl_is_known_by_its_text(name: str, said: str) -> None:
    assert diagnose(said).name == name


def test_of_a_long_complaint_the_lines_that_tell_are_shown() -> None:
    said = COMPLAINTS[0][1]
    assert "Erlang distribution failed" in gist(said)
    assert "Most common reasons" not in gist(said)
    assert "connected to epmd" not in gist(said)
    assert "cookie hash" not in gist(said)
    assert gist("06:39:46.958 [warning] Feature flags: noise\nError:\n:reason") == "Error: :reason"


def test_who_disagrees_with_whom_is_read() -> None:
    text = "Node rmq3@localhost thinks it's clustered with node rmq2@localhost, but rmq2@localhost disagrees"
    assert dissent(text) == ("rmq3@localhost", "rmq2@localhost")
    assert dissent(text.replace("Node", "Khepri: node")) == ("rmq3@localhost", "rmq2@localhost")
    assert dissent("nothing of the kind") is None


@pytest.mark.parametrize("name", ["rabbit@mq-1", "rabbit@10.0.0.1", "rmq_2@a.b-c.example", "R@h"])
def test_names_that_nodes_have_are_taken(name: str) -> None:
    assert is_node_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *HOSTILE_TEXTS,
        *(f"rabbit@{text}" for text in HOSTILE_TEXTS),
        *(f"{text}@host" for text in HOSTILE_TEXTS),
        "",
        "rabbit",
        "@host",
        "rabbit@",
        "-n@host",
        "--node@host",
        "rabbit@-host",
        "rabbit@host-",
        "rabbit@a..b",
        "rabbit@host\n",
        "rabbit@host@host",
        "rabbit@'host'",
        "rabbit@$(id)",
        "rabbit@h;reboot",
        "räbbit@host",
        "rabbit@" + "h" * 300,
    ],
)
def test_nothing_else_is_a_name(name: str) -> None:
    assert not is_node_name(name)


def test_long_names_are_told_from_short_ones() -> None:
    assert is_long("rabbit@10.0.0.1")
    assert not is_long("rabbit@mq")


def test_the_name_is_looked_for_where_rabbitmq_does(tmp_path: Path) -> None:
    conf = tmp_path / "rabbitmq-env.conf"
    conf.write_text("# a comment\nNODENAME=of-conf@host1\nexport MNESIA_BASE='/data one' # there\nX=$(id)\n")
    environ = {"RABBITMQ_CONF_ENV_FILE": str(conf), "RABBITMQ_NODENAME": "of-env@host2"}
    assert Variables(environ).node_name("of-settings@host3") == "of-settings@host3"
    assert Variables(environ).node_name() == "of-env@host2"
    del environ["RABBITMQ_NODENAME"]
    variables = Variables(environ)
    assert variables.node_name() == "of-conf@host1"
    assert variables.get("MNESIA_BASE") == "/data one"
    assert variables.get("X") is None
    conf.unlink()
    name = Variables(environ).node_name()
    assert name.startswith("rabbit@")
    assert not is_long(name)


@pytest.mark.parametrize("name", ["rabbit@$(id)", "-x@host", "a b@host"])
def test_a_name_that_could_mean_something_to_a_shell_is_refused(name: str) -> None:
    with pytest.raises(BrokerError, match="name@host"):
        Variables({"RABBITMQ_CONF_ENV_FILE": "/dev/null"}).node_name(name)


def test_long_names_want_a_host_with_a_dot() -> None:
    environ = {"RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_USE_LONGNAME": "true"}
    with pytest.raises(BrokerError, match="no dot"):
        Variables(environ).node_name("rabbit@mq")
    assert Variables(environ).node_name("rabbit@10.0.0.1") == "rabbit@10.0.0.1"


def test_the_distribution_port_is_known_before_the_node_runs() -> None:
    base = {"RABBITMQ_CONF_ENV_FILE": "/dev/null"}
    assert Variables(base).distribution_port() == 25672
    assert Variables({**base, "RABBITMQ_NODE_PORT": "5673"}).distribution_port() == 25673
    assert Variables({**base, "RABBITMQ_DIST_PORT": "1234"}).distribution_port() == 1234
    with pytest.raises(BrokerError, match="'x' is no port"):
        Variables({**base, "RABBITMQ_DIST_PORT": "x"}).distribution_port()


def test_a_survey_is_read() -> None:
    text = (
        "06:39:46.958 [warning] Feature flags: noise\n"
        '{"held":{"queues":2,"users":1,"vhosts":0},"members":["b@h","a@h"],"node":"a@h","state":"ready"}\nok\n'
    )
    survey = read_survey(text)
    assert survey.is_running
    assert not survey.is_stopped
    assert survey.others == {"b@h"}
    assert survey.data == "2 queues, 1 users"
    stopped = read_survey('{"held":null,"members":["a@h"],"node":"a@h","state":"stopped"}')
    assert stopped.is_stopped
    assert stopped.data  # nobody knows, so it is not called empty


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ok",
        "{",
        "[]",
        "{}",
        '{"node":1,"state":"x","members":[]}',
        '{"node":"a","state":"x","members":{}}',
    ],
)
def test_an_answer_that_is_none_raises(text: str) -> None:
    with pytest.raises(BrokerError, match="do not understand"):
        read_survey(text)
    with pytest.raises(BrokerError, match="do not understand"):
        read_cluster_status(text)


def test_a_cluster_status_is_read_whichever_version_wrote_it() -> None:
    old = read_cluster_status(
        '{"disk_nodes":["a@h","b@h"],"ram_nodes":["c@h"],"running_nodes":["a@h","b@h"],"partitions":{"a@h":["b@h"]}}'
    )
    assert old.members == {"a@h", "b@h", "c@h"}
    assert old.seen_by("a@h") == frozenset()  # b runs, but a has lost it
    assert old.seen_by("b@h") == {"a@h"}
    assert old.down == {"c@h"}
    new = read_cluster_status('{"disk_nodes":["a@h"],"running_nodes":["a@h"],"partitions":[]}')
    assert new.members == {"a@h"}


def test_former_members_are_read_from_mnesias_file() -> None:
    assert read_members_file("{[rmq1@localhost,'rmq-2@10.0.0.1'],[rmq1@localhost]}.\n") == {
        "rmq1@localhost",
        "rmq-2@10.0.0.1",
    }
    assert read_members_file("garbage") == frozenset()


def test_a_folder_tells_whether_the_node_ever_ran(tmp_path: Path) -> None:
    variables = Variables({"RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_MNESIA_BASE": str(tmp_path)})
    home = Home(variables, "a@h")
    assert home.is_blank()
    home.data.mkdir()
    assert home.is_blank()
    (home.data / "cluster_nodes.config").write_text("{[a@h,b@h],[a@h,b@h]}.")
    assert not home.is_blank()
    assert home.members() == {"b@h"}
    aside = home.set_aside()
    assert (aside / "cluster_nodes.config").exists()
    assert home.is_blank()


def test_a_log_tells_that_a_node_was_forgotten(tmp_path: Path) -> None:
    variables = Variables({"RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_LOG_BASE": str(tmp_path)})
    assert not Home(variables, "a@h").was_forgotten()
    text = "Node a@h thinks it's clustered with node b@h, but b@h disagrees"
    (tmp_path / "a@h.log").write_text(f"noise\n{text}\n")
    (tmp_path / "b@h.log").write_text(f"noise\n{text}\n")
    assert Home(variables, "a@h").was_forgotten()
    assert not Home(variables, "b@h").was_forgotten()


RECORDER = """#!/bin/sh
printf '%s\\0' "$@" >> '{log}'
printf '\\n' >> '{log}'
echo 3.10.8
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A rabbitmqctl that only notes what it is called with."""
    program = tmp_path / "rabbitmqctl"
    program.write_text(RECORDER.format(log=tmp_path / "calls"))
    program.chmod(0o755)
    return program


@pytest.fixture
def stopped(recorder: Path) -> Path:
    """One that says as well that the application is stopped."""
    survey = '{"held":null,"members":["own@here"],"node":"own@here","state":"stopped"}'
    recorder.write_text(recorder.read_text() + f"case \"$*\" in *eval*) echo '{survey}';; esac\n")
    return recorder


def make_broker(ctl: Path | str, child: Child | None = None, **settings: str) -> RabbitBroker:
    environ = {
        "PATH": "/usr/bin:/bin",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_NODENAME": "own@here",
    }
    values = {"broker": "rabbitmq", "bind_port": "25672", "rabbitmq_ctl": str(ctl)} | settings
    return RabbitBroker(Surroundings(make_settings(**values), "own@here", environ=environ, child=child))


def peer(name: str, kind: str | None = "rabbitmq") -> Member:
    return Member(name, Address("here", 25672), {} if kind is None else {"broker": kind})


async def test_what_is_published_names_the_node_and_its_kind(recorder: Path) -> None:
    async with make_broker(recorder) as broker:
        assert broker.cluster_id == "own@here"
        assert broker.port == 25672
        assert dict(broker.metadata) == {"broker": "rabbitmq", "rabbitmq-version": "3.10.8"}


@pytest.mark.parametrize("in_front", [True, False])
async def test_who_leaves_does_not_come_back_by_what_he_was_told_at_his_start(
    stopped: Path, tmp_path: Path, in_front: bool
) -> None:
    async with make_broker(stopped, Child(["rabbitmq-server"], {}) if in_front else None) as broker:
        await broker.leave()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "reset" in calls[2].split("\0")
    assert [("unset_env(rabbit, cluster_nodes)" in call) for call in calls[3:]] == [True] * in_front


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, "-n@h", "rabbit@$(touch x)", "--erlang-cookie=x", "a@b;id"])
async def test_a_hostile_id_reaches_no_command_line(recorder: Path, tmp_path: Path, text: str) -> None:
    async with make_broker(recorder) as broker:
        hostile = Member.__new__(Member)  # as if it had come past the codec, which refuses control characters
        for name, value in {
            "cluster_id": text,
            "address": Address("h", 1),
            "metadata": {"broker": "rabbitmq"},
        }.items():
            object.__setattr__(hostile, name, value)
        with pytest.raises(BrokerError, match="is no RabbitMQ node"):
            await broker.join(hostile)
        with pytest.raises(BrokerError, match="is no RabbitMQ node"):
            await broker.forget(text)
    assert (tmp_path / "calls").read_bytes() == b"version\0\n"


@pytest.mark.parametrize(
    "stranger", [peer("n1", "rabbitmq"), peer("a@h", None), peer("a@h", "nats"), peer("own@here")]
)
async def test_who_can_be_no_peer_is_not_joined(recorder: Path, stranger: Member) -> None:
    async with make_broker(recorder) as broker:
        with pytest.raises(BrokerError, match="is no RabbitMQ node"):
            await broker.join(stranger)


async def test_long_and_short_names_are_named_with_the_cure(recorder: Path) -> None:
    async with make_broker(recorder) as broker:
        with pytest.raises(BrokerError, match=r"never meet.*rabbitmq-node-name"):
            await broker.join(peer("rabbit@10.0.0.1"))


async def test_a_missing_rabbitmqctl_is_named_with_the_cure() -> None:
    with pytest.raises(BrokerError, match=r"'/no/such/rabbitmqctl'.*rabbitmq-ctl"):
        await make_broker("/no/such/rabbitmqctl").__aenter__()


async def test_a_rabbitmqctl_that_hangs_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "rabbitmqctl"
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    with pytest.raises(BrokerError, match=r"did not end within 0\.2 s and was killed"):
        await make_broker(program, rabbitmq_ctl_timeout="200ms").__aenter__()


def test_rabbitmqctl_may_be_a_command_with_arguments() -> None:
    assert make_settings(rabbitmq_ctl="docker exec mq rabbitmqctl").rabbitmq_ctl == (
        "docker",
        "exec",
        "mq",
        "rabbitmqctl",
    )
    assert make_settings().rabbitmq_ctl == ("rabbitmqctl",)
    with pytest.raises(SettingsError, match="rabbitmq-ctl"):
        make_settings(rabbitmq_ctl="a && b")
