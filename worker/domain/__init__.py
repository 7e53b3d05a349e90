"""Pure decisions of the worker, as values. Nothing here does I/O or knows a vendor."""
