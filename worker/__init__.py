"""The agent worker: one chat message in, one turn of a Claude agent, one result out."""
