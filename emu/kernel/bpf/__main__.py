"""`python -m emu.kernel.bpf`: compile what was not compiled yet."""

from emu.kernel import process
from emu.kernel.bpf import compiled

if __name__ == "__main__":
    compiled.build(process.run)
