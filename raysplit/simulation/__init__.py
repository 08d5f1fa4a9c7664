"""The round and the run: state, plans, participation, recording, and which first rounds two scenarios share."""
