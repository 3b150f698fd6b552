"""Fine-tuning: of a low rank, to repair; of the attacks, to have something to repair."""
