"""What SE blocks do: the gates of a bundle's network over many photos, by class, as figures and tables."""
