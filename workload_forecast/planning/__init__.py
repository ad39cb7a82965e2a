"""From a forecast to a decision: which servers share a machine, and which need more than one."""
