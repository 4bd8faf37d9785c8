"""The page at `/`: photos in, and what the network sees in them. Plain files for browsers, nothing from elsewhere."""
