"""How nats-server is reached: what the settings say, and for the rest what it says of itself."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from s3discovery.brokers.nats.login import Login, login
from s3discovery.brokers.nats.views import Listener, Server
from s3discovery.errors import BrokerError
from s3discovery.settings.config import Settings
from s3discovery.settings.hosts import is_wildcard


@dataclass(frozen=True, slots=True)
class Access:
    """Logins and places of one server, from the settings."""

    monitor_url: str
    client_url: str | None
    mqtt_url: str | None
    cluster: Login | None
    system: Login | None
    app: Login | None
    mqtt: Login | None
    tls_ca: str | None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Access":
        """Return what `settings` say."""
        app = login(settings.nats_app_user, settings.nats_app_password)
        return cls(
            monitor_url=settings.nats_monitor_url,
            client_url=settings.nats_url,
            mqtt_url=settings.nats_mqtt_url,
            cluster=login(settings.nats_cluster_user, settings.nats_cluster_password),
            system=login(settings.nats_system_user, settings.nats_system_password),
            app=app,
            mqtt=login(settings.nats_mqtt_user, settings.nats_mqtt_password) or app,
            tls_ca=settings.nats_tls_ca,
        )

    def tls(self) -> ssl.SSLContext:
        """Return how servers are checked; raises BrokerError if nats-tls-ca cannot be read."""
        try:
            return ssl.create_default_context(cafile=self.tls_ca)
        except (OSError, ssl.SSLError) as error:
            raise BrokerError(
                f"nats-tls-ca {self.tls_ca!r} cannot be read: {error}; write a file of certificates (PEM)"
            ) from error

    def clients_at(self, server: Server) -> str:
        """Return the URL for NATS clients."""
        return self.client_url or self._url("tls" if server.client.tls else "nats", server.client)

    def mqtt_at(self, server: Server) -> Listener | None:
        """Return where MQTT clients connect; None if the server has no MQTT."""
        if server.mqtt is None:
            return None
        url = urlsplit(self.mqtt_url or self._url("mqtts" if server.mqtt.tls else "mqtt", server.mqtt))
        return Listener(url.hostname or "", url.port or 0, url.scheme == "mqtts")

    def _url(self, scheme: str, listener: Listener) -> str:
        host = listener.host
        if not host or is_wildcard(host):
            host = urlsplit(self.monitor_url).hostname or ""
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.port}"
