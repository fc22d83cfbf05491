"""Online adaptation: the protocol, the methods by name, what a life under them is worth, and the demo of it."""
