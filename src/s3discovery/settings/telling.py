"""The durations in force, told once: their units differ between HiveMQ 3 and 4, and a slip stays unseen."""

import logging

from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)


def tell_durations(settings: Settings) -> None:
    """Log by which times nodes live, and warn if the polls are too rare for them."""
    log.info(
        "settings file-expiration=%gs update-interval=%gs poll-interval=%gs compatibility=%s",
        settings.file_expiration_s,
        settings.update_interval_s,
        settings.poll_interval_s,
        settings.compatibility,
    )
    spare_s = (settings.file_expiration_s - settings.update_interval_s) / 2
    if 0 < spare_s < settings.poll_interval_s:
        log.warning(
            "an outage of the store between two polls could pass unnoticed and cost a living node: "
            "set poll-interval to %gs or less, or file-expiration higher",
            spare_s,
        )
