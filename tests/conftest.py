"""What every test relies on."""

import signal

# A shell that starts something in the background has it ignore SIGINT, and everything started from there too.
signal.signal(signal.SIGINT, signal.default_int_handler)
