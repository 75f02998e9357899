"""Training: one loop, one linear solver, and what a teacher says (signals). Needs the extra 'train'."""
