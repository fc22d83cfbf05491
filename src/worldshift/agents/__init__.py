"""Trained agents: the learner of TD-MPC2, its planner, and the agent that comes out of them."""
