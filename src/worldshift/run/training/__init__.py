"""Training runs: rounds of collecting and learning that can be killed and resumed, for every kind of agent."""
