"""One outside system per module, and `memory`: an in-memory twin of every port."""
