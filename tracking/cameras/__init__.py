"""Cameras of a freeze-time clip: tracks, two-view start, bundle adjustment, fallbacks."""
