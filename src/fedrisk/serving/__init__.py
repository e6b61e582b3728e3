"""The API: request validation, scoring, hot swap, metrics; and scoring of whole files.

The way of one prediction is bytes, compiled validation, arithmetic on floats, bytes: no data frame,
no thread, and neither mlflow nor flwr nor pandas in the process.
"""
