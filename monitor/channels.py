"""Channels made of the settings."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.channel import Channel
from monitor.notify_settings import NotificationSettings
from monitor.plugins import make_plugin

__all__ = ["channels_of"]


def channels_of(settings: Sequence[NotificationSettings]) -> tuple[Channel, ...]:
    """Make the channels; nothing is sent yet.

    Raises:
        PluginError: A plugin is missing or refuses its options.
    """
    return tuple(
        Channel(
            name=said.name, plugin=said.plugin, events=frozenset(said.events), targets=frozenset(said.targets),
            severity=said.severity, digest_above=said.digest_above, max_age_hours=said.max_age_hours,
            notifier=make_plugin("alignd.notifiers", said.plugin, said.options, where=f"notifications.{said.name}"),
        )
        for said in settings
    )  # fmt: skip
