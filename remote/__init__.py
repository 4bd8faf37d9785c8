"""Bundles in remote stores: what is there, how it comes to a folder of this machine, and how it is put there."""
