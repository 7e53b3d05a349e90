"""What a turn costs, in seconds, requests and memory; see docs/performance.md."""
