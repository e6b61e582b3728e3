"""Pure mathematics, no input or output: design matrix, logistic regression, metrics."""
