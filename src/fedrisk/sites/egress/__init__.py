"""What leaves a site: one gate, and a log that tells what passed it."""
