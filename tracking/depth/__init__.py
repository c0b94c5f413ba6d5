"""Dense depth of every view, cameras known: sweep, semi-global matching, refinement, filling."""
