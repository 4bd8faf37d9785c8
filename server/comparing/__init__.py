"""What the versions of an alias answer on live photos, and what can be concluded from it."""
