"""Our own eBPF programs (the .c files here), compiled at install time, loaded by libbpf."""
