"""The demo estate: a fictitious bank's AI systems on loopback, with weaknesses that can be switched on and off."""
