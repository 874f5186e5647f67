"""Before a method runs: scaling, removal of redundant links, merging of identical routes."""
