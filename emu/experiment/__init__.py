"""Lessons and tests as files: a YAML script of steps on a topology, run unattended, with results and a report."""
