"""A front's side: the seam of the models, where the engines are in another process."""
