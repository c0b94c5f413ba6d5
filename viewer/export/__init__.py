"""A scene as files for other programs."""
