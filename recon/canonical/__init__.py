"""Canonical Gaussians from keyframes, floaters, view-dependent compensation, hidden background."""
