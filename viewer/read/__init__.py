"""Scenes out of files: ours and those of other programs."""
