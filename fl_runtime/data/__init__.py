"""Data sets, how they are dealt to clients, and what every client holds."""
