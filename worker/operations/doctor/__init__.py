"""Is everything there that a worker needs, and as it needs it? Each answer comes with its remedy.

Nothing is changed: no message is received or sent, nothing is published, no object or row written.
A permission is tried with a call that cannot succeed; what cannot be tried so is said to be not
checked. The rights are those of whoever runs it.
"""
