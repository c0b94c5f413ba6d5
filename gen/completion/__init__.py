"""Completion of a grid from row 0 and column 0 of any footage: rules, flow, and a small network
that chooses among their answers."""
