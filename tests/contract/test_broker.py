"""The contract of Broker over every Broker: the fake, and amqtt."""

from dataclasses import replace

import pytest

from s3discovery.brokers import Surroundings
from s3discovery.brokers.amqtt import AmqttBroker
from s3discovery.testing import BrokerContract, MakeBroker, RecordingBroker, make_settings


class TestRecordingBroker(BrokerContract):
    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        return lambda cluster_id: RecordingBroker(metadata={"rack": f"rack of {cluster_id}"})


class TestAmqttBroker(BrokerContract):
    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        settings = make_settings(broker="amqtt", bind_address=self.host, bind_port="0")
        # A port of its own choice for MQTT clients, which a test alone can want.
        settings = replace(settings, amqtt_listen=f"{self.host}:0")
        return lambda cluster_id: AmqttBroker(Surroundings(settings, cluster_id))
