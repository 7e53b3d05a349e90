"""The demo: the whole system on this machine, live, with every claim checked as it is made.

`python -m worker.local.demo` is the tour.
"""
