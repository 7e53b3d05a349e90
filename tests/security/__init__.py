"""Attacks that fail only because a defence holds; with it off, each is seen to succeed."""
