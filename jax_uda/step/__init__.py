"""One training step: views, objectives, a method, its state, and the learner that holds them."""
