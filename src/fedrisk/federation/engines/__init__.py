"""How a request reaches its sites: engines differ in transport alone."""
