"""The live viewer on viser."""
