"""The façade: everything a front end can ask of a running testbed."""
