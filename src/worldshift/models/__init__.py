"""Networks only: no optimiser, no environment, no file. `latent` is TD-MPC2's, `onestep` serves the fast reflex."""
