"""Problems and high-precision solutions for benchmarks; tests use them too."""
