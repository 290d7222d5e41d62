"""Learning from preferences: rewards, advantages, losses, and the loops that use them."""
