"""The terminal pictures in docs/screens, made from values by the code that the commands use."""
