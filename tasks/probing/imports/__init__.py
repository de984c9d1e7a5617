"""Attack files of other tools turned into ordinary families; what cannot be said in our terms is told."""
