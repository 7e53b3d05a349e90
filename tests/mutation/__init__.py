"""Broken on purpose: each mutation takes one guarantee away, and a test must notice."""
