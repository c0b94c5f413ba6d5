"""Trackers and depth networks of others behind the protocols of `tracking.protocols`."""
