"""The crash matrix on real parts: real processes, real signals, the real CLI, the emulator."""
