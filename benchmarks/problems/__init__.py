"""Problems to be timed on and judged by; tests use them too."""
