"""Optical flow between views, and which of it to believe."""
