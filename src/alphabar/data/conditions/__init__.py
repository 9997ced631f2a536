"""What a model can be told beside x_t: kinds of conditions, and how their values become numbers."""
