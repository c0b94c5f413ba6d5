"""Temporal deformation: control nodes, rigidity, stillness, and how nodes are first followed."""
