"""The dead-letter workbench: read, group, plan, replay, edit, archive. Knows no vendor."""
