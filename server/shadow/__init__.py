"""The shadow: a version that computes copies of photos in a process of its own, and answers nobody."""
