"""The history: every change of the registry's state is one event, in the change's own transaction."""
