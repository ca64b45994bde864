"""What of NATS needs no server: the file of routes, what servers say, copies, MQTT's first packet."""

import struct
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from s3discovery.brokers.nats import routes, store
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.diagnosis import explain
from s3discovery.brokers.nats.fitness import check, check_name, check_settings
from s3discovery.brokers.nats.login import Login
from s3discovery.brokers.nats.mqtt import connect_packet
from s3discovery.brokers.nats.process import _read_pid
from s3discovery.brokers.nats.replicas import Copies, is_done, next_step, only_on, read_copies
from s3discovery.brokers.nats.routes_file import RoutesFile
from s3discovery.brokers.nats.views import Listener, Server, peer_id, read_meta, read_names, read_server
from s3discovery.errors import AddressError, BrokerError, SettingsError
from s3discovery.node import Address, Member, Report
from s3discovery.settings.config import Settings
from s3discovery.settings.kinds import Secret
from s3discovery.testing import make_settings
from s3discovery.testing.hostile import HOSTILE_TEXTS, MARK

LOGIN = Login("route", Secret('p"a/ß@:{}$x\n'))


def nats_settings(**more: str) -> Settings:
    given = {"broker": "nats", "nats_routes_file": "/r", "bind_port": "6222", "cluster_id": "n1"}
    return make_settings(**(given | {"nats_store_dir": "/data"} | more))


def server(**more: Any) -> Server:
    given: dict[str, Any] = {
        "name": "n1",
        "server_id": "NID",
        "loaded": "1",
        "cluster_name": "mesh",
        "cluster_port": 6222,
        "routes": frozenset[str](),
        "store_dir": "/data/jetstream",
        "client": Listener("0.0.0.0", 4222, tls=False),
        "mqtt": Listener("0.0.0.0", 1883, tls=False),
    }
    return Server(**(given | more))


def peer(name: str, host: str = "10.0.0.2", *, is_formed: bool | None = None, engine: str = "nats") -> Member:
    return Member(name, Address(host, 6222), {"engine": engine}, report=Report(is_formed))


def copies(
    name: str, wanted: int, followers: str = "", *, leader: str = "n1", current: str | None = None
) -> Copies:
    there = frozenset(followers.split())
    return Copies(
        name, wanted, leader, there, there if current is None else frozenset(current.split()), False, {}
    )


class TestRoutes:
    def test_the_file_is_what_nats_server_reads(self) -> None:
        own = Address("127.0.0.1", 6222)
        urls = [*routes.self_routes(own), routes.route_url(Address("node-2.example.com", 6222))]
        assert routes.render(urls).splitlines()[1:] == [
            "routes: [",
            '  "nats://127.0.0.1:6222"',
            '  "nats://node-2.example.com:6222"',
            "]",
        ]

    @pytest.mark.parametrize(
        ("host", "shown"),
        [
            ("::1", "[::1]"),
            ("[2001:db8::7]", "[2001:db8::7]"),
            ("fe80::1%eth0", "[fe80::1%25eth0]"),
            ("10.1.2.3", "10.1.2.3"),
        ],
    )
    def test_addresses_are_written_as_urls_want_them(self, host: str, shown: str) -> None:
        assert routes.route_url(Address(host, 6222)) == f"nats://{shown}:6222"

    def test_a_password_cannot_break_out(self) -> None:
        url = routes.route_url(Address("a", 1), LOGIN)
        assert url == "nats://route:p%22a%2F%C3%9F%40%3A%7B%7D%24x%0A@a:1"
        assert routes.place_of(url) == "a:1"
        assert "route" not in repr(LOGIN.password)

    @pytest.mark.parametrize("text", HOSTILE_TEXTS)
    def test_nothing_hostile_gets_into_the_file(self, text: str) -> None:
        try:
            strange = Member(text, Address(text, 6222), {"engine": "nats"})
        except AddressError:
            return
        urls = [routes.route_url(each.address) for each in routes.possible({strange, peer("n2")})]
        text = routes.render(urls)
        if strange.address.is_dialable:  # then it is a name, or an address with an interface
            assert routes.route_url(strange.address) in urls
            assert not set('"\n {}$') & set(urls[-1])
        else:
            assert MARK not in text
            with pytest.raises(ValueError, match="cannot be dialled"):
                routes.route_url(strange.address)

    def test_a_joiner_counts_many_routes_and_reaches_one_place(self) -> None:
        urls = routes.self_routes(Address("127.0.0.1", 6222), None, routes.JOINER_ROUTES)
        assert len(set(urls)) == routes.JOINER_ROUTES
        assert {routes.place_of(url) for url in urls} == {"127.0.0.1:6222"}

    def test_who_formed_a_cluster_elsewhere_gets_no_route(self) -> None:
        ours, stranger, blank = (
            peer("n2", is_formed=True),
            peer("n3", is_formed=True),
            peer("n4", is_formed=False),
        )
        known = {peer_id("n1"), peer_id("n2")}
        assert routes.same_group([ours, stranger, blank], known) == [ours, blank]

    def test_other_systems_nodes_are_no_peers(self) -> None:
        assert routes.possible({peer("n2"), peer("h", engine="hivemq"), Member("x", Address("a", 1))}) == [
            peer("n2")
        ]


class TestRoutesFile:
    def test_nothing_is_written_when_nothing_changed(self, tmp_path: Path) -> None:
        file = RoutesFile(str(tmp_path / "routes.conf"), is_secret=False)
        assert file.write(["nats://a:1"])
        before = (tmp_path / "routes.conf").stat()
        assert not file.write(["nats://a:1"])
        after = (tmp_path / "routes.conf").stat()
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)

    def test_the_mode_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "routes.conf"
        path.touch()
        path.chmod(0o640)
        RoutesFile(str(path), is_secret=False).write(["nats://a:1"])
        assert path.stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize("mode", [None, 0o644])
    def test_a_password_is_for_the_owner_alone(self, tmp_path: Path, mode: int | None) -> None:
        path = tmp_path / "routes.conf"
        if mode is not None:
            path.touch(mode)
        RoutesFile(str(path), is_secret=True).write(["nats://u:p@a:1"])
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BrokerError, match=r"nats-routes-file .*missing.*folder must exist"):
            RoutesFile(str(tmp_path / "missing" / "routes.conf"), is_secret=False).write([])


class TestViews:
    def test_peer_ids_are_those_of_nats(self) -> None:
        assert [peer_id("n1"), peer_id("n2"), peer_id("n3")] == ["fjFyEjc1", "44jzkV9D", "BXScrY9i"]

    def test_a_server(self) -> None:
        said = {
            "server_name": "n1",
            "server_id": "NID",
            "config_load_time": "t",
            "host": "0.0.0.0",
            "port": 4222,
            "tls_required": True,
            "cluster": {"name": "mesh", "cluster_port": 6222, "urls": ["a:1", "a:1", 5]},
            "jetstream": {"config": {"store_dir": "/data/jetstream"}},
            "mqtt": {"host": "::", "port": 1883, "tls_timeout": 2},
        }
        found = read_server(said)
        assert found.routes == {"a:1"}
        assert (found.client.tls, found.mqtt) == (True, Listener("::", 1883, tls=False))
        bare = read_server(
            {"server_id": "NID", "config_load_time": "t", "jetstream": {}, "mqtt": {}, "cluster": {}}
        )
        assert (bare.name, bare.cluster_port, bare.store_dir, bare.mqtt) == ("NID", None, None, None)

    @pytest.mark.parametrize("said", [{}, {"server_name": 5}, {"server_name": "x"}, {"status": "ok"}])
    def test_what_is_no_server(self, said: dict[str, Any]) -> None:
        with pytest.raises(BrokerError, match="no nats-server"):
            read_server(said)

    def test_connections_are_counted_by_name(self) -> None:
        assert read_names({"routes": [{"remote_name": "n2"}, {"remote_name": "n2"}, {"x": 1}, 7]}) == {"n2"}
        assert read_names({"routes": "?"}) == frozenset()

    def test_a_founder_alone_belongs_to_nothing(self) -> None:
        meta = read_meta(
            {"meta_cluster": {"cluster_size": 2, "replicas": [{"name": "n1", "peer": peer_id("n1")}]}}
        )
        assert meta is not None
        assert not meta.includes("n1")
        assert meta.down("n1", (), {}) == frozenset()

    def test_members_see_whom_they_have_no_route_with(self) -> None:
        others = [{"name": name, "peer": peer_id(name)} for name in ("n2", "n3")]
        unknown = {"name": "Server name unknown at this time (peerID: x)", "peer": peer_id("n4")}
        meta = read_meta(
            {"meta_cluster": {"leader": "n2", "cluster_size": 4, "replicas": [*others, unknown]}}
        )
        assert meta is not None
        assert meta.includes("n1")
        assert not meta.includes("n9") or meta.size > len(meta.peers)
        assert meta.down("n1", {"n2", "n3"}, {}) == {peer_id("n4")}
        assert meta.down("n1", {"n3"}, {peer_id("n4"): "n4"}) == {"n2", "n4"}

    def test_who_was_removed_is_no_member_though_he_follows(self) -> None:
        others = [{"name": name, "peer": peer_id(name)} for name in ("n1", "n2")]
        meta = read_meta({"meta_cluster": {"leader": "n1", "cluster_size": 2, "replicas": others}})
        assert meta is not None
        assert not meta.includes("n3")

    def test_a_leader_misses_who_was_silent_for_long(self) -> None:
        def silent(**said: Any) -> bool:
            each = {"name": "n2", "peer": peer_id("n2")} | said
            meta = read_meta({"meta_cluster": {"leader": "n1", "cluster_size": 2, "replicas": [each]}})
            assert meta is not None
            found = meta.find("n2")
            assert found is not None
            return found.is_silent

        assert silent(current=False, active=16_000_000_000)
        assert silent(current=True, offline=True)
        assert not silent(current=True, active=16_000_000_000)
        assert not silent(current=False, active=9_000_000_000)


class TestStore:
    def test_nothing_is_blank(self, tmp_path: Path) -> None:
        assert store.read_state(str(tmp_path)) is None

    @pytest.mark.parametrize(("commit", "agreed"), [(b"", False), (b"\1" * 16, True)])
    def test_only_what_was_agreed_upon_counts(self, tmp_path: Path, commit: bytes, agreed: bool) -> None:
        folder = self.folder(tmp_path, "n1", "n2")
        (folder / "commit.idx").write_bytes(commit)
        state = store.read_state(str(tmp_path))
        assert state is not None
        assert state.is_agreed is agreed
        assert state.known == {peer_id("n1"), peer_id("n2")}
        store.drop_blank_state(str(tmp_path))
        assert folder.exists() is agreed

    def test_before_2_12_the_log_tells(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path, "n1")
        (folder / "msgs").mkdir()
        (folder / "msgs" / "1.blk").touch()
        state = store.read_state(str(tmp_path / "jetstream"))
        assert state is not None
        assert not state.is_agreed
        (folder / "msgs" / "1.blk").write_bytes(b"x")
        state = store.read_state(str(tmp_path))
        assert state is not None
        assert state.is_agreed

    def test_a_broken_list_of_peers_names_nobody(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        (folder / "peers.idx").write_bytes(b"\xff" * 6)
        state = store.read_state(str(tmp_path))
        assert state is not None
        assert state.known == frozenset()

    def folder(self, tmp_path: Path, *names: str) -> Path:
        folder = tmp_path / "jetstream" / "SYS" / "_js_" / "_meta_"
        folder.mkdir(parents=True)
        ids = "".join(map(peer_id, names)).encode()
        (folder / "peers.idx").write_bytes(struct.pack("<II", 2, len(names)) + ids + b"\0\0")
        return folder


class TestCopies:
    def step(self, streams: list[Copies], size: int = 3, online: int = 3) -> tuple[str, int] | None:
        found = next_step(streams, limit=3, size=size, online=online)
        return None if found is None else (found.stream.name, found.copies)

    def test_one_more_copy_of_the_stream_with_the_least(self) -> None:
        assert self.step([copies("a", 2, "n2"), copies("b", 1)]) == ("b", 2)
        assert self.step([copies("a", 2, "n2"), copies("b", 2, "n3")]) == ("a", 3)
        assert self.step([copies("a", 3, "n2 n3"), copies("b", 3, "n2 n3")]) is None

    def test_the_next_step_waits_for_the_last(self) -> None:
        assert self.step([copies("a", 2, "n2", current=""), copies("b", 1)]) is None
        assert self.step([copies("a", 2), copies("b", 1)]) is None
        assert self.step([copies("a", 1, leader=""), copies("b", 1)]) is None

    def test_there_are_no_more_copies_than_servers_that_are_up(self) -> None:
        assert self.step([copies("a", 2, "n2")], size=3, online=2) is None
        assert self.step([copies("a", 1)], size=1, online=1) is None

    def test_copies_of_those_removed_are_dropped_though_nothing_is_settled(self) -> None:
        assert self.step([copies("a", 3, "n2"), copies("b", 3, "n2")], size=2, online=2) == ("a", 2)
        assert self.step([copies("a", 2, "n2")], size=3, online=1) is None  # dead is not removed

    def test_more_than_asked_for_is_left_alone(self) -> None:
        five = [copies("a", 5, "n2 n3 n4 n5")]
        assert next_step(five, limit=3, size=5, online=5) is None
        assert is_done(five, limit=3, size=5)
        assert not is_done([copies("a", 1)], limit=3, size=5)

    def test_what_only_one_server_has(self) -> None:
        streams = [copies("a", 1), copies("b", 1, leader="n2"), copies("c", 2, "n2")]
        assert [stream.name for stream in only_on(streams, "n1")] == ["a"]

    def test_the_answer_is_read_with_care(self) -> None:
        said: dict[str, Any] = {
            "config": {"name": "$MQTT_sess", "num_replicas": 3, "other": 1},
            "cluster": {
                "leader": "n1",
                "replicas": [
                    {"name": "n2", "current": True},
                    {"name": "n3", "current": True, "offline": True},
                    7,
                ],
            },
        }
        found = read_copies(said)
        assert found is not None
        assert (found.wanted, sorted(found.followers), sorted(found.current)) == (3, ["n2", "n3"], ["n2"])
        assert found.config["other"] == 1
        moving = read_copies(said | {"cluster": said["cluster"] | {"desired": {}}})
        assert moving is not None
        assert moving.is_moving
        for wrong in ({}, {"config": 5}, {"config": {"name": 5}}, {"error": {"code": 404}}):
            assert read_copies(MappingProxyType(wrong)) is None


class TestMqtt:
    def test_the_packet_is_that_of_the_standard(self) -> None:
        assert connect_packet("s3d", None) == b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03s3d"
        named = connect_packet("s3d", Login("u", Secret("pw")))
        assert named == b"\x10\x16\x00\x04MQTT\x04\xc2\x00\x0a\x00\x03s3d\x00\x01u\x00\x02pw"

    def test_long_ones_have_a_long_length(self) -> None:
        assert connect_packet("s3d", Login("u", Secret("x" * 300)))[1:3] == b"\xc0\x02"


class TestFitness:
    @pytest.mark.parametrize(
        ("changes", "cure"),
        [
            ({"name": "n2"}, "is the server 'n2', not 'n1'"),
            ({"name": "NID"}, "write server_name into nats.conf"),
            ({"cluster_port": None}, "has no cluster block"),
            ({"cluster_port": 7222}, "bind-port is 6222, but the cluster block listens at 7222"),
            ({"store_dir": None}, "JetStream is off"),
            ({"store_dir": "/other/jetstream"}, "nats-store-dir is '/data', but JetStream stores in"),
        ],
    )
    def test_what_does_not_fit_is_named(self, changes: dict[str, Any], cure: str) -> None:
        check(server(), "n1", nats_settings(), is_ours=True)
        with pytest.raises(BrokerError, match=cure):
            check(server(**changes), "n1", nats_settings(), is_ours=True)

    def test_jetstream_must_not_be_a_surprise(self) -> None:
        with pytest.raises(BrokerError, match="nats-jetstream is false"):
            check(server(), "n1", nats_settings(nats_jetstream="false"), is_ours=False)

    def test_a_server_by_itself_is_called_what_it_says(self) -> None:
        with pytest.raises(BrokerError, match="made up a name"):
            check_name(server(name="NID"), nats_settings(cluster_id=""))
        with pytest.raises(BrokerError, match="cluster-id is 'n1', but nats-server has server_name 'n2'"):
            check_name(server(name="n2"), nats_settings())

    def test_what_has_to_be_set_to_start_one(self) -> None:
        check_settings(nats_settings())
        with pytest.raises(BrokerError, match="set cluster-id"):
            check_settings(nats_settings(cluster_id=""))
        with pytest.raises(BrokerError, match="set nats-store-dir"):
            check_settings(nats_settings(nats_store_dir=""))

    @pytest.mark.parametrize(
        ("said", "cure"),
        [
            ({"server_id": "NID"}, "is this node itself"),
            ({"server_name": "n1"}, "every server_name must be unique"),
            ({"server_name": "n9"}, "cluster-id and its server_name must be the same"),
            ({"server_name": "n2", "cluster": "other"}, "in the cluster 'other', this node in 'mesh'"),
            ({"server_name": "n2", "cluster": "mesh"}, "must agree in authorization"),
        ],
    )
    def test_why_a_peer_is_missing(self, said: dict[str, Any], cure: str) -> None:
        assert cure in explain("it", peer("n2"), server(), said)


class TestSettings:
    def test_places_are_those_of_the_server_unless_set(self) -> None:
        access = Access.from_settings(nats_settings(nats_monitor_url="http://10.0.0.1:8222"))
        assert access.clients_at(server()) == "nats://10.0.0.1:4222"
        assert access.mqtt_at(server()) == Listener("10.0.0.1", 1883, tls=False)
        six = Listener("fd00::1", 8883, tls=True)
        assert access.mqtt_at(server(mqtt=six)) == six
        assert access.mqtt_at(server(mqtt=None)) is None
        given = Access.from_settings(nats_settings(nats_url="tls://a:1", nats_mqtt_url="mqtts://b:2"))
        assert given.clients_at(server()) == "tls://a:1"
        assert given.mqtt_at(server()) == Listener("b", 2, tls=True)

    def test_mqtt_is_tried_as_the_application_unless_set(self) -> None:
        settings = nats_settings(nats_app_user="app", nats_app_password="hunter2")
        access = Access.from_settings(settings)
        assert access.mqtt == access.app == Login("app", Secret("hunter2"))
        assert "hunter2" not in repr(access) + repr(settings)

    @pytest.mark.parametrize(
        ("key", "text", "cure"),
        [
            ("nats_url", "http://a:1", "write nats://host:port or tls://host:port"),
            ("nats_url", "nats://u:p@a:1", "leave out user and password"),
            ("nats_monitor_url", "127.0.0.1:8222", "write http://host:port"),
            ("nats_mqtt_url", "mqtt://a", "write host:port"),
            ("nats_replicas", "6", "from 1 to 5"),
            ("nats_system_user", "sys", "write the password of nats-system-user"),
            ("nats_app_password", "x", "write whose password nats-app-password is"),
            ("nats_routes_file", "", "the path of the file that the cluster block"),
        ],
    )
    def test_what_is_wrong_is_named(self, key: str, text: str, cure: str) -> None:
        with pytest.raises(SettingsError, match=cure):
            nats_settings(**{key: text})

    def test_a_missing_certificate_is_named(self) -> None:
        access = Access.from_settings(nats_settings(nats_tls_ca="/missing.pem"))
        with pytest.raises(BrokerError, match=r"nats-tls-ca '/missing\.pem' cannot be read"):
            access.tls()


class TestPidFile:
    @pytest.mark.parametrize("text", ["", "x", "0", "1", "-5", "99999999999"])
    def test_what_is_no_process_is_not_signalled(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "pid").write_text(text)
        with pytest.raises(BrokerError, match="pid_file"):
            _read_pid(str(tmp_path / "pid"))

    def test_another_program_is_not_signalled(self, tmp_path: Path) -> None:
        import os

        (tmp_path / "pid").write_text(str(os.getpid()))
        with pytest.raises(BrokerError, match="out of date"):
            _read_pid(str(tmp_path / "pid"))

    def test_none_is_named(self, tmp_path: Path) -> None:
        for path in (None, str(tmp_path / "missing")):
            with pytest.raises(BrokerError, match="write pid_file"):
                _read_pid(path)
