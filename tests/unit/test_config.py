import dataclasses
from dataclasses import replace

import pytest

from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import (
    BY_NAME,
    CREDENTIALS_TYPES,
    KEYS,
    Key,
    Secret,
    Settings,
    Value,
    describe,
    parse,
    unknown_keys,
)

BASE = {
    "s3-bucket-region": "us-east-1",
    "s3-bucket-name": "hivemq",
    "file-prefix": "hivemq/cluster/nodes/",
    "file-expiration": "360",
    "update-interval": "180",
}
WRONG_DURATIONS = [
    *(
        "5L",
        "5M",
        "x",
        "0x10",
        "#10",
        "010x",
        "-5",
        "-5s",
        "--5",
        "-",
        "1_000",
        "1,000",
        "5.",
        ".5",
        "1e3",
        "∞",
    ),
    *("nan", "9223372036854775807", "87601h", "0.01s", "0.0001ms"),
    *("", "5 ", " 5", "5 s", "5\xa0", "9" * 41, "5\n"),
]
WRONG_HOSTS = [
    "10.0.0.256",
    "1.2.3",
    "10.0.0.5:7800",
    "http://h",
    "a b",
    " h",
    "h ",
    "-h",
    "h..i",
    "h\n",
    "[::1",
    "h/",
]
WRONG_PORTS = ["-1", "65536", "x", "0x10", "1.0", "7800 ", " 7800", "99999999999999999999", "--1", "7_800"]
NATS_LOGINS = ("cluster", "system", "app", "mqtt")
WRONG_REGIONS = [
    "US_EAST_1",
    "us east 1",
    "us-east-1 ",
    " us-east-1",
    "us.east",
    "é",
    "us-east-1\n",
    "x" * 65,
]
WRONG: dict[str, list[str]] = {
    "s3-bucket-region": ["", *WRONG_REGIONS],
    "s3-bucket-name": [
        "",
        "b",
        "ab",
        "a" * 256,
        "a b",
        "s3://b",
        "b/c",
        "bücket",
        "bucket ",
        " bucket",
        "buck\tet",
        "arn:aws:s3:::bucket",
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/a b",
    ],
    "file-prefix": ["a\nb", "a\x00b", "a\x7f", "\ud800", "x" * 1000],
    "file-expiration": ["5.0", "0.5", *WRONG_DURATIONS],
    "update-interval": ["5.0", "0.5", *WRONG_DURATIONS],
    "poll-interval": ["0", "0s", "99ms", "25h", "86401", *WRONG_DURATIONS],
    "compatibility": ["", "hivemq", "HiveMQ-3", "3", "hivemq-4 "],
    "credentials-type": ["", "Default", "DEFAULT", "default ", " default", "access-key", "x"],
    "credentials-access-key-id": ["AK IA", "AKIA ", "AKIÄ", "AK\nIA", "\x7f"],
    "credentials-secret-access-key": ["s3cr3t ", " s3cr3t", "s3 cr3t", "s3cr3t\n", "s3cr3t\xe9"],
    "credentials-session-token": ["s3cr3t ", " s3cr3t", "s3 cr3t", "s3cr3t\n", "s3cr3t\xe9"],
    "credentials-secret-access-key-file": [" ", "a\nb"],
    "credentials-session-token-file": [" ", "a\x00b"],
    "credentials-profile": ["[default]", "a ", "a\nb", "x" * 200],
    "credentials-role-arn": [
        "mqtt",
        "arn:aws:s3:::bucket",
        "arn:aws:iam::1:role/a b",
        "arn:aws:iam::1:role/x ",
    ],
    "credentials-external-id": ["a", "a b", "é" * 3, "x" * 2000],
    "credentials-session-name": ["a", "a b", "a/b", "x" * 65],
    "credentials-source": ["", "Default", "assume_role", "anonymous", "x"],
    "credentials-metadata-v1": ["yes", "1", "true "],
    "java-pid": ["0", "-1", "1.5", "x", "99999999"],
    "s3-endpoint": [
        "ftp://h",
        "https:/h",
        "https//h",
        "http://",
        "h:0",
        "h:65536",
        "h:x",
        "http://u:p@h",
        "u@h",
        "h?a=b",
        "h#a",
        "h ",
        " h",
        "h i",
        "http://[::1",
        "http://10.0.0.256",
        "://h",
        "/path",
    ],
    "s3-endpoint-region": WRONG_REGIONS,
    "s3-path-style-access": ["yes", "1", "true ", " true", "on", "truе"],  # the last e is Cyrillic
    "s3-dual-stack": ["", "yes", "true "],
    "s3-fips": ["", "1", "fips"],
    "server-side-encryption": ["aes256", "AES128", "aws:KMS", "kms", "AES256 "],
    "kms-key-id": ["a b", "é", "key\n", "x" * 2049, " k", "k,l"],
    "bucket-key": ["yes", "1", "true "],
    "sse-customer-key-file": [" ", "a\nb"],
    "acl": ["Private", "public_read", "log-delivery-write", "private "],
    "requester-pays": ["", "requester", "1", "true "],
    "expected-bucket-owner": ["1234-5678-9012", "12345678901", "1234567890123", "１" * 12, " 123456789012"],
    "object-tags": [
        "team",
        "=iot",
        "a=1,,b=2",
        "a=1,",
        "a=1,a=2",
        "aws:x=1",
        "AWS:x=1",
        "a=1;b=2",
        "a=?",
        "a=%FF",
        "a=%0A",
        "x" * 129 + "=1",
        "a=" + "x" * 257,
        "a=" + "\U00020000" * 129,
        ",".join(f"k{number}=v" for number in range(11)),
    ],
    "cluster-id": [" ", "a\nb", "a||||b", "|a", "a|", "x" * 513, "é" * 257, "\ud800"],
    "bind-address": WRONG_HOSTS,
    "bind-port": ["", "0", *WRONG_PORTS],
    "external-address": ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0", *WRONG_HOSTS],
    "external-port": ["0", *WRONG_PORTS],
    "broker": ["", "Amqtt", "a b", "amqtt ", "-a", "x" * 65],
    "amqtt-listen": [
        "",
        "127.0.0.1",
        "127.0.0.1:",
        ":1883",
        "h:0",
        "h:65536",
        "::1:1883",
        "h:x",
        "h:1883 ",
        "a b:1",
    ],
    "amqtt-config": [" ", "a\nb"],
    "control-socket": [" ", "a\nb"],
    "hivemq-config": [" ", "a\nb"],
    "dns-listen": ["127.0.0.1", "127.0.0.1:0", ":53", "x y:53"],
    "dns-name": ["", "a b", "-a.b", "a..b", "x" * 64, "ü.de", " a"],
    "dns-max-udp": ["511", "65508", "x", "1.5"],
    "dns-rate": ["0", "-1", "x"],
    "http-port": ["0", "65536", "x"],
    "http-address": ["a b", "http://h", "h:1"],
    "http-token": ["a b", " a", "é"],
    "http-token-file": [" ", "a\nb"],
    "log-format": ["", "JSON", "text"],
    "rabbitmq-node-name": ["-rabbit@host", "rabbit@", "rabbit@ho st", "rabbit@host;id", "a@b@c"],
    "rabbitmq-ctl": ["'", "a | b", "a ; b"],
    "rabbitmq-ctl-timeout": ["0", "0s", *WRONG_DURATIONS],
    "min-cluster-size": ["0", "-1", "1.5", "10001", "x", "3 "],
    "min-cluster-timeout": WRONG_DURATIONS,
    "stable-margin": WRONG_DURATIONS,
    "seed-key": [" ", "a\nb"],
    "store-timeout": WRONG_DURATIONS,
    "allow-reset": ["yes", "1", "true "],
    "forget-dead": ["yes", "1", "true "],
    "forget-after": WRONG_DURATIONS,
    "leave-on-stop": ["no", "0", "false "],
    "nats-routes-file": [" ", "a\nb"],
    "nats-pid-file": [" ", "a\nb"],
    "nats-jetstream": ["yes", "1", "true "],
    "nats-store-dir": [" ", "a\nb"],
    "nats-replicas": ["0", "6", "x"],
    "nats-monitor-url": [
        "",
        "127.0.0.1:8222",
        "nats://a:1",
        "http://a",
        "http://u:s3cr3t@a:1",
        "http://a:1/x",
    ],
    "nats-url": ["a:1", "http://a:1", "nats://a", "nats://u:s3cr3t@a:1", "tls://a:0"],
    "nats-mqtt-url": ["a:1", "mqtt://a", "mqtts://a:99999"],
    "nats-cluster-user": ["a b"],
    "nats-cluster-password": ["s3cr3t "],
    "nats-system-user": ["a b"],
    "nats-system-password": ["s3cr3t "],
    "nats-app-user": ["a b"],
    "nats-app-password": ["s3cr3t "],
    "nats-mqtt-user": ["a b"],
    "nats-mqtt-password": ["s3cr3t "],
    "nats-tls-ca": [" ", "a\nb"],
    "command": ["a | b", "a 'b", "a {own_hots}", "{own_id}", "[1]", "a {join_id}"],
    "command-cluster": ["a;", "a && "],
    "command-join": ["a > b", "a {forget_id}"],
    "command-forget": ["a {join_id}"],
    "command-leave": ["a {x}"],
    "command-timeout": ["0", "50ms", *WRONG_DURATIONS],
    "output-file": [" ", "a\nb"],
    "output-template": ["haproxi", "Json", " /x"],
    "output-variables": ["a", "a=1 a=2", "A=1", "a='"],
    "output-block": ["yes", ""],
    "output-reload": ["a | b", "a {join_id}"],
    "output-signal": ["HUP", "KILL:/x", "HUP:x", "restart:/x", "hup:child"],
    "output-folder": [" ", "a\nb"],
}
RIGHT: dict[str, list[tuple[str, object]]] = {
    "s3-bucket-region": [
        ("eu-central-1", "eu-central-1"),
        ("auto", "auto"),
        ("ap-southeast-99", "ap-southeast-99"),
    ],
    "s3-bucket-name": [
        *((name, name) for name in ("a.b-c", "Old_Bucket", "a" * 255)),
        *[("arn:aws:s3:eu-west-1:123456789012:accesspoint/mesh",) * 2],
    ],
    "file-prefix": [
        ("", ""),
        ("//a b/ ", "//a b/ "),
        ("é日", "é日"),
        ("x" * 960, "x" * 960),
        ("${a}", "${a}"),
    ],
    "file-expiration": [
        ("181", 10860.0),
        ("360m", 21600.0),
        ("1d", 86400.0),
        ("+0400", 24000.0),
        ("２００", 12000.0),
    ],
    "update-interval": [
        ("90s", 90.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("0.1s", 0.1),
        ("5", 300.0),
        ("+05", 300.0),
    ],
    "poll-interval": [("0.5", 0.5), ("100ms", 0.1), ("1d", 86400.0), ("10", 10.0), ("1m", 60.0)],
    "compatibility": [("hivemq-3", "hivemq-3")],
    "credentials-type": [
        (kind, kind)
        for kind in CREDENTIALS_TYPES
        if kind not in ("access_key", "temporary_session", "assume_role")  # which need other keys
    ],
    "credentials-access-key-id": [("AKIA", "AKIA"), ("", None)],
    "credentials-secret-access-key": [("ab+/cd==", Secret("ab+/cd==")), ("", None)],
    "credentials-session-token": [("ab+/cd==", Secret("ab+/cd==")), ("", None)],
    "credentials-secret-access-key-file": [("/run/secrets/s", "/run/secrets/s"), ("", None)],
    "credentials-session-token-file": [("/run/secrets/t", "/run/secrets/t"), ("", None)],
    "credentials-profile": [("default", "default"), ("my team", "my team"), ("", None)],
    "credentials-role-arn": [
        (arn, arn)
        for arn in (
            "arn:aws:iam::123456789012:role/path/x",
            "arn:aws-cn:iam::1:role/x",
            "arn:aws:iam:::role/x",
        )
    ],
    "credentials-external-id": [("a:b/c=1", "a:b/c=1"), ("", None)],
    "credentials-session-name": [("node-1@eu", "node-1@eu"), ("", None)],
    "credentials-source": [(kind, kind) for kind in ("default", "container", "sso")],
    "credentials-metadata-v1": [("true", True), ("FALSE", False), ("", None)],
    "java-pid": [("1", 1), ("4194304", 4194304), ("", None)],
    "s3-endpoint": [
        (text, text)
        for text in (
            "s3.eu-west-1.amazonaws.com",
            "http://localhost:9000",
            "minio_1:9000",
            "https://h/p",
            "http://[::1]:9000/",
        )
    ],
    "s3-endpoint-region": [("garage", "garage"), ("", None)],
    "s3-path-style-access": [("TRUE", True), ("true", True), ("False", False), ("", None)],
    "s3-dual-stack": [("TRUE", True), ("false", False)],
    "s3-fips": [("true", True), ("False", False)],
    "server-side-encryption": [(kind, kind) for kind in ("AES256", "aws:kms", "aws:kms:dsse")] + [("", None)],
    "kms-key-id": [
        (name, name)
        for name in (
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:1:key/x",
            "alias/my_key.1",
        )
    ],
    "bucket-key": [("true", True), ("False", False), ("", None)],
    "sse-customer-key-file": [("/run/secrets/k", "/run/secrets/k"), ("", None)],
    "acl": [("public-read", "public-read"), ("", None)],
    "requester-pays": [("True", True), ("false", False)],
    "expected-bucket-owner": [("012345678901", "012345678901"), ("", None)],
    "object-tags": [
        ("team=iot", (("team", "iot"),)),
        ("a=1,b=2", (("a", "1"), ("b", "2"))),
        ("a=1&b=2", (("a", "1"), ("b", "2"))),
        ("a = x y , b=", (("a", "x y"), ("b", ""))),
        ("a%3Db=c%2Bd=e+f", (("a=b", "c+d=e+f"),)),
        ("Größe=é/日:@_.-", (("Größe", "é/日:@_.-"),)),
        ("x" * 128 + "=" + "y" * 256, (("x" * 128, "y" * 256),)),
        (
            ",".join(f"k{number}=v" for number in range(10)),
            tuple((f"k{number}", "v") for number in range(10)),
        ),
        ("", None),
    ],
    "cluster-id": [("node-1", "node-1"), ("é" * 256, "é" * 256), ("a|b", "a|b"), ("", None)],
    "bind-address": [
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
    ],
    "bind-port": [("1", 1), ("65535", 65535), ("+07800", 7800)],
    "external-address": [
        ("node-1.example.com", "node-1.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("fd00::1", "fd00::1"),
    ],
    "external-port": [("1", 1), ("65535", 65535), ("", None)],
    "broker": [("none", "none"), ("amqtt", "amqtt"), ("my_broker", "my_broker")],
    "amqtt-listen": [
        ("[::1]:1883", "[::1]:1883"),
        ("0.0.0.0:1", "0.0.0.0:1"),
        ("broker:1883", "broker:1883"),
    ],
    "amqtt-config": [("/etc/amqtt.yaml", "/etc/amqtt.yaml"), ("", None)],
    "control-socket": [("/run/s.sock", "/run/s.sock"), ("", None)],
    "hivemq-config": [("/opt/hivemq/conf/config.xml", "/opt/hivemq/conf/config.xml"), ("", None)],
    "dns-listen": [("127.0.0.1:5353", "127.0.0.1:5353"), ("[::1]:53", "[::1]:53"), ("", None)],
    "dns-name": [("Mqtt.Example", "mqtt.example."), ("a.", "a."), ("_mqtt._tcp.x", "_mqtt._tcp.x.")],
    "dns-max-udp": [("512", 512), ("65507", 65_507)],
    "dns-rate": [("1", 1), ("10000", 10_000)],
    "http-port": [("1", 1), ("65535", 65_535), ("", None)],
    "http-address": [("::1", "::1"), ("0.0.0.0", "0.0.0.0")],
    "http-token": [("t0ken", Secret("t0ken")), ("", None)],
    "http-token-file": [("/run/t", "/run/t"), ("", None)],
    "log-format": [("json", "json"), ("console", "console")],
    "rabbitmq-node-name": [("rabbit@host-1", "rabbit@host-1"), ("", None)],
    "rabbitmq-ctl": [
        ("/opt/rabbitmqctl", ("/opt/rabbitmqctl",)),
        ("ip netns exec a ctl", ("ip", "netns", "exec", "a", "ctl")),
    ],
    "rabbitmq-ctl-timeout": [("30s", 30.0), ("5", 5.0)],
    "min-cluster-size": [("1", 1), ("3", 3), ("10000", 10_000)],
    "min-cluster-timeout": [("0", 0.0), ("90", 90.0), ("5m", 300.0), ("1.5s", 1.5)],
    "stable-margin": [("0s", 0.0), ("10", 10.0)],
    "seed-key": [(".s3discovery/seed", ".s3discovery/seed"), ("", None)],
    "store-timeout": [("0", 0.0), ("10m", 600.0)],
    "allow-reset": [("true", True), ("FALSE", False)],
    "forget-dead": [("true", True), ("false", False)],
    "forget-after": [("0", 0.0), ("10m", 600.0)],
    "leave-on-stop": [("true", True), ("false", False)],
    "nats-routes-file": [("/etc/nats/routes.conf", "/etc/nats/routes.conf"), ("", None)],
    "nats-pid-file": [("/run/nats.pid", "/run/nats.pid"), ("", None)],
    "nats-jetstream": [("false", False), ("TRUE", True)],
    "nats-store-dir": [("/var/lib/nats", "/var/lib/nats"), ("", None)],
    "nats-replicas": [("1", 1), ("5", 5)],
    "nats-monitor-url": [("https://[::1]:8222", "https://[::1]:8222")],
    "nats-url": [("tls://a:4222", "tls://a:4222"), ("", None)],
    "nats-mqtt-url": [("mqtts://a:8883", "mqtts://a:8883"), ("", None)],
    **{f"nats-{who}-user": [("a", "a")] for who in NATS_LOGINS},
    **{f"nats-{who}-password": [("p/@:", Secret("p/@:"))] for who in NATS_LOGINS},
    "nats-tls-ca": [("/ca.pem", "/ca.pem"), ("", None)],
    "command": [
        ("a b", (("a", "b"),)),
        ("a 'b c' && [ {peers...}", (("a", "b c"), ("[", "{peers...}"))),
        ('["a", "{own_id}"]', (("a", "{own_id}"),)),
        ("", None),
    ],
    "command-cluster": [("a", (("a",),)), ("", None)],
    "command-join": [("a {join_id}", (("a", "{join_id}"),)), ("", None)],
    "command-forget": [("a {forget_id}", (("a", "{forget_id}"),)), ("", None)],
    "command-leave": [("a", (("a",),)), ("", None)],
    "command-timeout": [("100ms", 0.1), ("2m", 120.0)],
    "output-file": [("/etc/x y", "/etc/x y")],
    "output-template": [("json", "json"), ("./x", "./x")],
    "output-variables": [("a=1 b='x y' c=", (("a", "1"), ("b", "x y"), ("c", ""))), ("", None)],
    "output-block": [("true", True), ("False", False)],
    "output-reload": [("a", (("a",),)), ("", None)],
    "output-signal": [
        ("HUP:/run/x.pid", ("HUP", "/run/x.pid")),
        ("SIGUSR1:child", ("USR1", "child")),
        ("restart:child", ("restart", "child")),
        ("", None),
    ],
    "output-folder": [("/etc/x", "/etc/x"), ("", None)],
}
# What some keys are nothing without.
BESIDE: dict[str, dict[str, str]] = {
    **{f"nats-{who}-user": {f"nats-{who}-password": "p"} for who in NATS_LOGINS},
    **{f"nats-{who}-password": {f"nats-{who}-user": "u"} for who in NATS_LOGINS},
    "file-expiration": {"update-interval": "5m"},
    "kms-key-id": {"server-side-encryption": "aws:kms"},
    "bucket-key": {"server-side-encryption": "aws:kms"},
    "command-join": {"command-cluster": "a"},
    "output-file": {"output-template": "json"},
    **{
        f"output-{what}": {"output-file": "/x", "output-template": "json"}
        for what in ("template", "variables", "reload", "signal")
    },
}


def problems_of(values: dict[str, str]) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(values)
    return caught.value.problems


def test_every_setting_has_a_key_and_every_key_is_explained() -> None:
    assert {key.attribute for key in KEYS} == {field.name for field in dataclasses.fields(Settings)}
    assert len(BY_NAME) == len(KEYS) == len(dataclasses.fields(Settings))
    for key in KEYS:
        assert key.help.endswith(".")
        assert key.example
        assert not (key.required and key.default is not None)


def test_every_key_is_tried() -> None:
    assert set(WRONG) == set(RIGHT) == set(BY_NAME)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_examples_and_defaults_are_right(key: Key) -> None:
    credentials = {each.name: each.example for each in KEYS if each.name.startswith("credentials-")}
    for secret in ("credentials-secret-access-key", "credentials-session-token"):
        del credentials[secret if key.name == f"{secret}-file" else f"{secret}-file"]
    parse(BASE | credentials | BESIDE.get(key.name, {}) | {key.name: key.example})
    if key.default is not None:
        base = {name: text for name, text in BASE.items() if name != key.name}
        assert parse(base) == parse(base | {key.name: key.default})


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_value_is_one_problem_with_a_cure(name: str, text: str) -> None:
    (problem,) = problems_of(BASE | {name: text})
    assert problem.key == name
    assert len(problem.cure) > 10
    assert name in str(problem)
    assert "s3cr3t" not in str(problem)


@pytest.mark.parametrize(
    ("name", "text", "value"), [(name, text, value) for name, pairs in RIGHT.items() for text, value in pairs]
)
def test_a_right_value_is_taken(name: str, text: str, value: object) -> None:
    assert getattr(parse(BASE | BESIDE.get(name, {}) | {name: text}), BY_NAME[name].attribute) == value


def test_the_documented_example() -> None:
    settings = parse(BASE | {"credentials-type": "default"})
    assert (settings.file_expiration_s, settings.update_interval_s, settings.poll_interval_s) == (
        21600,
        10800,
        60,
    )
    assert (settings.file_version, settings.signing_region) == ("1", "us-east-1")
    assert settings.amqtt_listen == "127.0.0.1:1883"


def test_hivemq_4_counts_seconds_and_writes_version_4() -> None:
    settings = parse(BASE | {"compatibility": "hivemq-4", "update-interval": "2m"})
    assert (settings.file_expiration_s, settings.update_interval_s, settings.file_version) == (360, 120, "4")


def test_the_endpoint_region_signs() -> None:
    assert parse(BASE | {"s3-endpoint-region": "garage"}).signing_region == "garage"


def test_the_endpoint_that_the_originals_ship_is_aws_in_the_region_of_the_bucket() -> None:
    settings = parse(BASE | {"s3-endpoint": "s3.amazonaws.com", "s3-endpoint-region": "us-west-2"})
    assert settings.endpoint is None
    assert settings.signing_region == settings.bucket_region


@pytest.mark.parametrize(
    ("expiration", "interval", "key"),
    [
        ("5", "0", "update-interval"),
        ("0", "5", "file-expiration"),
        ("5", "5", "update-interval"),
        ("5", "6", "update-interval"),
        ("300s", "5m", "update-interval"),
    ],
)
def test_durations_that_clash(expiration: str, interval: str, key: str) -> None:
    (problem,) = problems_of(BASE | {"file-expiration": expiration, "update-interval": interval})
    assert problem.key == key


@pytest.mark.parametrize("zero", ["0", "0s", "-0", "000"])
def test_zero_switches_both_off(zero: str) -> None:
    settings = parse(BASE | {"file-expiration": zero, "update-interval": zero})
    assert (settings.file_expiration_s, settings.update_interval_s) == (0, 0)


@pytest.mark.parametrize(
    ("key", "text", "cure"),
    [
        ("file-expiration", "1ms", "write at least 100ms; 0 switches it off"),
        ("file-expiration", "-1s", "write at least 100ms; 0 switches it off"),
        ("file-expiration", "99999d", "write less than ten years; 0 switches it off"),
        # There it would be at once, and no command runs for ever.
        ("forget-after", "1ms", "write at least 100ms, or 0"),
        ("forget-after", "99999d", "write less than ten years, or 0"),
        ("command-timeout", "1ms", "write a duration from 100ms to 1d, such as 60s"),
    ],
)
def test_zero_is_offered_where_it_is_taken_as_what_it_is(key: str, text: str, cure: str) -> None:
    assert [(found.key, found.cure) for found in problems_of(BASE | {key: text})] == [(key, cure)]


def test_everything_missing_is_reported_with_what_to_write() -> None:
    problems = problems_of({})
    assert [problem.key for problem in problems] == list(BASE)
    assert all(f"{problem.key}:" in problem.cure for problem in problems)


def test_all_problems_come_in_one_report() -> None:
    values = {name: texts[-1] for name, texts in WRONG.items()}
    assert [problem.key for problem in problems_of(values)] == [key.name for key in KEYS]


@pytest.mark.parametrize(
    ("values", "key", "cure"),
    [
        ({"kms-key-id": "k"}, "kms-key-id", "server-side-encryption:aws:kms"),
        ({"kms-key-id": "k", "server-side-encryption": "AES256"}, "kms-key-id", "aws:kms"),
        ({"bucket-key": "false"}, "bucket-key", "aws:kms"),
        ({"bucket-key": "true", "server-side-encryption": "aws:kms:dsse"}, "bucket-key", "leave it out"),
        (
            {"sse-customer-key-file": "/k", "server-side-encryption": "AES256"},
            "sse-customer-key-file",
            "either this or server-side-encryption",
        ),
        (
            {"sse-customer-key-file": "/k", "s3-endpoint": "http://minio:9000"},
            "sse-customer-key-file",
            "https://",
        ),
        (
            {"sse-customer-key-file": "/k", "s3-endpoint": "http://10.0.0.1"},
            "sse-customer-key-file",
            "https://",
        ),
        ({"requester-pays": "true", "credentials-type": "anonymous"}, "requester-pays", "cannot pay"),
    ],
)
def test_ownership_that_contradicts_itself(values: dict[str, str], key: str, cure: str) -> None:
    (problem,) = problems_of(BASE | values)
    assert problem.key == key
    assert cure in problem.cure


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:9000", "http://127.8.8.8", "http://[::1]:1", "http://localhost", "minio:9000"],
)
def test_customer_key_may_travel_encrypted_or_stay_on_the_machine(endpoint: str) -> None:
    values = BASE | {"sse-customer-key-file": "/k", "s3-endpoint": endpoint}
    assert parse(values).sse_customer_key_file == "/k"


def test_credentials_of_a_type_are_complete() -> None:
    identity = {"credentials-access-key-id": "AKIA", "credentials-secret-access-key": "s"}
    names = ["credentials-access-key-id", "credentials-secret-access-key", "credentials-session-token"]
    for kind, needed in (("access_key", names[:2]), ("temporary_session", names)):
        values = BASE | {"credentials-type": kind}
        assert [problem.key for problem in problems_of(values)] == needed
        assert [problem.key for problem in problems_of(values | dict.fromkeys(needed, ""))] == needed
    assert parse(BASE | identity | {"credentials-type": "access_key"}).secret_access_key == Secret("s")
    temporary = BASE | identity | {"credentials-type": "temporary_session"}
    assert [problem.key for problem in problems_of(temporary)] == names[2:]
    assert parse(temporary | {"credentials-session-token": "t"}).session_token == Secret("t")


def test_secrets_may_be_in_files() -> None:
    values = BASE | {"credentials-type": "temporary_session", "credentials-access-key-id": "AKIA"}
    files = {"credentials-secret-access-key-file": "/s", "credentials-session-token-file": "/t"}
    settings = parse(values | files)
    assert (settings.secret_access_key_file, settings.session_token_file) == ("/s", "/t")
    doubled = values | files | {"credentials-secret-access-key": "s3cr3t"}
    (problem,) = problems_of(doubled)
    assert problem.key == "credentials-secret-access-key-file"
    assert "s3cr3t" not in str(problem)


def test_a_role_needs_its_name_and_what_its_source_needs() -> None:
    values = BASE | {"credentials-type": "assume_role"}
    assert [problem.key for problem in problems_of(values)] == ["credentials-role-arn"]
    assert [problem.key for problem in problems_of(values | {"credentials-source": "access_key"})] == [
        "credentials-access-key-id",
        "credentials-secret-access-key",
        "credentials-role-arn",
    ]
    assert parse(values | {"credentials-role-arn": "arn:aws:iam::1:role/x"}).credentials_source == "default"


def test_a_wrong_credential_is_not_also_missing() -> None:
    values = BASE | {"credentials-type": "access_key", "credentials-access-key-id": "a b"}
    keys = [problem.key for problem in problems_of(values)]
    assert keys == ["credentials-access-key-id", "credentials-secret-access-key"]


def test_any_free_port_is_for_amqtt_alone() -> None:
    assert parse(BASE | {"bind-port": "0", "broker": "amqtt"}).bind_port == 0
    (problem,) = problems_of(BASE | {"bind-port": "0", "broker": "rabbitmq"})
    assert problem.key == "bind-port"


def test_prefix_and_id_fit_into_a_key() -> None:
    parse(BASE | {"file-prefix": "x" * 512, "cluster-id": "y" * 512})
    (problem,) = problems_of(BASE | {"file-prefix": "x" * 513, "cluster-id": "y" * 512})
    assert problem.key == "file-prefix"


@pytest.mark.parametrize("text", ["US_EAST_1", "us_east_1"])
def test_a_region_in_javas_spelling_names_the_right_one(text: str) -> None:
    assert problems_of(BASE | {"s3-bucket-region": text})[0].cure.endswith("us-east-1")


def test_unknown_keys_come_with_the_nearest() -> None:
    values = BASE | {"s3-bucket-nam": "x", "FILE_PREFIX": "x", "ï»¿s3-bucket-region": "x", "zzz": "x"}
    assert unknown_keys(values) == (
        ("s3-bucket-nam", "s3-bucket-name"),
        ("FILE_PREFIX", "file-prefix"),
        ("ï»¿s3-bucket-region", "s3-bucket-region"),
        ("zzz", None),
    )
    assert parse(values) == parse(BASE)


def test_a_problem_says_where_the_value_was_written() -> None:
    with pytest.raises(SettingsError, match="variable S3DISCOVERY_BROKER"):
        parse(BASE | {"broker": Value("A", "variable S3DISCOVERY_BROKER")})


def test_describe_shows_resolved_values_and_origins() -> None:
    values: dict[str, str | Value] = {
        **BASE,
        "broker": Value("amqtt", "option -o"),
        "s3-path-style-access": "TRUE",
        "poll-interval": "1500ms",
    }
    rows = {row.name: (row.text, row.origin) for row in describe(parse(values), values)}
    assert list(rows) == list(BY_NAME)
    assert rows["broker"] == ("amqtt", "option -o")
    assert rows["file-expiration"] == ("6h", "given")
    assert rows["poll-interval"] == ("1500ms", "given")
    assert rows["s3-path-style-access"] == ("true", "given")
    assert rows["bind-port"] == ("7800", "default")
    assert rows["cluster-id"] == (None, "default")


@pytest.mark.parametrize(
    ("key_id", "shown"),
    [
        ("AKIAIOSFODNN7EXAMPLE", "AKIA***"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJ***"),  # a secret in the wrong place
        ("ABCD/EFGH", "AB***"),
    ],
)
def test_access_key_id_is_shortened(key_id: str, shown: str) -> None:
    values: dict[str, str | Value] = {**BASE, "credentials-access-key-id": key_id}
    rows = {row.name: row.text for row in describe(parse(values), values)}
    assert rows["credentials-access-key-id"] == shown


def test_secrets_show_nowhere() -> None:
    marked = {
        "credentials-secret-access-key": Value("MARKED-SECRET", "file"),
        "credentials-session-token": Value("MARKED-TOKEN", "file"),
    }
    values: dict[str, str | Value] = {**BASE}
    values |= marked
    settings = parse(values)
    shown = [repr(settings), str(settings), repr(values), str(marked), repr(describe(settings, values))]
    spaced = {name: Value(f"{value.text} ", "file") for name, value in marked.items()}
    passwords: dict[str, Value] = {"s3-endpoint": Value("http://user:MARKED-PASSWORD@host", "file")}
    for wrong in (spaced, passwords):
        with pytest.raises(SettingsError) as caught:
            parse({**BASE, **wrong})
        shown += [str(caught.value), repr(caught.value), repr(caught.value.problems)]
    assert "MARKED" not in "".join(shown)
    assert settings.secret_access_key is not None
    assert settings.secret_access_key.reveal() == "MARKED-SECRET"
    masked = {row.name: row.text for row in describe(settings, values)}
    assert masked["credentials-secret-access-key"] == masked["credentials-session-token"] == "***"


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a")
    assert not Secret("")
    assert f"{Secret('a')} {Secret('a')!r} %s" % Secret("a") == "*** *** ***"


def test_a_long_value_is_cut_in_the_report() -> None:
    assert len(str(problems_of(BASE | {"cluster-id": "x" * 100_000})[0])) < 400


def test_settings_are_frozen() -> None:
    settings = parse(BASE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.broker = "x"  # type: ignore[misc] # the test
    assert replace(settings, broker="x").broker == "x"
